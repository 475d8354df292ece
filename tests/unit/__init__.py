"""Tests of one part at a time, without processes or servers of ours."""
