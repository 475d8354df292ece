"""Tests of air_executor.process."""
