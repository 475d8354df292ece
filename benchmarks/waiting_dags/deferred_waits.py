"""As many task instances as there are jobs, each waiting for one of them in the triggerer."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from air_executor.airflow.sensors import AirExecutorJobSensor

NAMES = [f"awaited-{number}" for number in range(int(os.environ["AIR_BENCH_WAITS"]))]

for dag_id, ends_there in (("waits_for_worker", False), ("waits_end_there", True)):
    with DAG(dag_id, schedule=None, max_active_tasks=len(NAMES)) as dag:
        AirExecutorJobSensor.partial(
            task_id="wait",
            deferrable=True,
            defer_after=0,
            do_xcom_push=False,
            end_from_trigger=ends_there,
        ).expand(job_name=[f"{dag_id}.{name}" for name in NAMES])
    globals()[dag_id] = dag
