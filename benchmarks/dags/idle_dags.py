"""One task on an idle system, and tasks that stand still until all have been looked at."""

from __future__ import annotations

import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("single", schedule=None):
    BashOperator(task_id="true", bash_command="true")

# A named pipe: each reader waits in open() until somebody writes, and costs nothing meanwhile.
with DAG("standing", schedule=None, max_active_tasks=1000):
    for number in range(int(os.environ.get("AIR_BENCH_STANDING", "32"))):
        BashOperator(task_id=f"wait_{number}", bash_command='exec cat "$AIR_BENCH_GATE"')
