"""One task finds the work; Airflow maps a task instance over each piece."""

from __future__ import annotations

import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

for dag_id, count in (("mapped", int(os.environ.get("AIR_BENCH_FOUND", "1237"))), ("mapped_warm_up", 40)):
    with DAG(dag_id, schedule=None, max_active_tasks=2000):

        @task
        def find(found: int) -> list[str]:
            return ["true"] * found

        BashOperator.partial(task_id="process").expand(bash_command=find(count))
