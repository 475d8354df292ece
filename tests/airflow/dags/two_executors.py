"""One task for each executor of a site that has two; empty where there is no executor named `air`."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

if "air:" in conf.get("core", "executor"):
    with DAG("two_executors", schedule=None):
        show = 'echo "attempt mark: ${AIR_EXECUTOR_ATTEMPT_MARK:-none}"'
        BashOperator(task_id="by_air", executor="air", bash_command=show)
        BashOperator(task_id="by_local", executor="LocalExecutor", bash_command=show)
        BashOperator(task_id="by_default", bash_command=show)
