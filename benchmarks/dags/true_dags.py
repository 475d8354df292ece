"""As many tasks as possible that do nothing, side by side and one after the other."""

from __future__ import annotations

import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, chain

WIDTH = int(os.environ.get("AIR_BENCH_WIDTH", "100"))
LENGTH = int(os.environ.get("AIR_BENCH_LENGTH", "20"))

# Warming up takes more tasks than there are slots.
for dag_id, width in (("independent", WIDTH), ("independent_warm_up", min(WIDTH, 48))):
    with DAG(dag_id, schedule=None, max_active_tasks=1000):
        for number in range(width):
            BashOperator(task_id=f"true_{number}", bash_command="true")

with DAG("chain", schedule=None, max_active_tasks=1000):
    chain(*(BashOperator(task_id=f"true_{number}", bash_command="true") for number in range(LENGTH)))
