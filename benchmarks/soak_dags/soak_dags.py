"""A hundred tasks that do nothing, of which a few runs go at a time."""

from __future__ import annotations

import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("soak", schedule=None, max_active_tasks=1000, max_active_runs=int(os.environ["AIR_BENCH_RUNS_AT_ONCE"])):
    for number in range(int(os.environ["AIR_BENCH_WIDTH"])):
        BashOperator(task_id=f"true_{number}", bash_command="true")
