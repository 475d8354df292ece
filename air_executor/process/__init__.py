"""Processes: the only package that forks, spawns and signals; it knows nothing of job directories or Airflow."""
