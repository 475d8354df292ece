"""Tasks that do nothing, in a file that imports operators of a large provider package."""

from __future__ import annotations

import os

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.providers.amazon.aws.operators.ecs import EcsRunTaskOperator
from airflow.providers.amazon.aws.operators.s3 import S3CopyObjectOperator
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

IMPORTED = (BatchOperator, EcsRunTaskOperator, S3CopyObjectOperator, S3KeySensor)

for dag_id, count in (("provider", int(os.environ.get("AIR_BENCH_HEAVY", "40"))), ("provider_warm_up", 8)):
    with DAG(dag_id, schedule=None, max_active_tasks=1000, description=f"{len(IMPORTED)} classes imported"):
        for number in range(count):
            BashOperator(task_id=f"true_{number}", bash_command="true")
