"""A DAG whose file a test takes away between its two tasks."""

from __future__ import annotations

from air_test_ledger import HOLD, SAY_END, SAY_START
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("vanishing", schedule=None):
    BashOperator(task_id="before", bash_command=f"{SAY_START}; {HOLD}; {SAY_END}") >> BashOperator(
        task_id="after", bash_command=SAY_START, retries=0
    )
