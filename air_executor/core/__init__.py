"""Jobs, tasks, states, planning: pure code without IO, clock or Airflow."""
