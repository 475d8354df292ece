"""One task, then two in parallel: each of them runs in a process of its own that Air-Executor starts and ends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

default_args = {
    "owner": "airflow",
    "depends_on_past": False,
    "retries": 1,
    "retry_delay": timedelta(seconds=10),
}

with DAG(
    "example_air_executor_dag",
    default_args=default_args,
    description="Example DAG using Air-Executor",
    start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),
    schedule=None,
    catchup=False,
    tags=["air-executor", "example"],
) as dag:
    print_date = BashOperator(task_id="print_date", bash_command="date")

    sleep = BashOperator(task_id="sleep", bash_command="sleep 5")

    print_hello = BashOperator(task_id="print_hello", bash_command='echo "Hello from Air-Executor!"')

    print_date >> [sleep, print_hello]
