"""A chain of tasks that do nothing, in a file that takes two seconds of CPU to parse."""

from __future__ import annotations

import os
import time

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, chain

# As a file that makes its DAGs from a large table does: waiting would cost no CPU.
UNTIL_S = time.process_time() + 2
while time.process_time() < UNTIL_S:
    pass

for dag_id, length in (("slow_parse", int(os.environ.get("AIR_BENCH_STEPS", "5"))), ("slow_parse_warm_up", 2)):
    with DAG(dag_id, schedule=None, max_active_tasks=1000):
        chain(*(BashOperator(task_id=f"true_{number}", bash_command="true") for number in range(length)))
