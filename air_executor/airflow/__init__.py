"""Airflow's side of Air-Executor; the only package that imports Airflow."""
