"""Tasks that do nothing, in a file that imports pandas."""

from __future__ import annotations

import os

import pandas as pd
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

for dag_id, count in (("pandas", int(os.environ.get("AIR_BENCH_HEAVY", "40"))), ("pandas_warm_up", 8)):
    with DAG(dag_id, schedule=None, max_active_tasks=1000, description=f"pandas {pd.__version__}"):
        for number in range(count):
            BashOperator(task_id=f"true_{number}", bash_command="true")
