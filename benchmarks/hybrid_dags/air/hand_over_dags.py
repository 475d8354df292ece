"""One task is handed over; it finds the work and queues a task for each piece."""

from __future__ import annotations

import os
import sys

from airflow.sdk import DAG

from air_executor.airflow.operators import AirExecutorJobOperator

FIND = (
    "import sys, air_executor\n"
    "air_executor.queue_tasks([{'id': f'file-{n}', 'command': 'true'} for n in range(int(sys.argv[1]))])\n"
)

for dag_id, count in (("hand_over", os.environ.get("AIR_BENCH_FOUND", "1237")), ("hand_over_warm_up", "10")):
    with DAG(dag_id, schedule=None):
        AirExecutorJobOperator(
            task_id="process",
            tasks=[{"id": "find", "command": sys.executable, "args": ["-c", FIND, count]}],
            # It takes seconds: handing the wait to the triggerer would take longer than the work.
            defer_after=30,
        )
