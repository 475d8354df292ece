"""Turns an Airflow workload into a job. The token travels in the attachment only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from air_executor.airflow import compat, job_names
from air_executor.airflow.executor_config import read_executor_config
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec

TASK_ID = "airflow-task"
WORKLOAD_FILE = "workload.json"
_MAX_PRIORITY = 2**31


@dataclass(frozen=True)
class WorkloadJob:
    """A job ready for submission."""

    spec: JobSpec
    attachments: dict[str, bytes]
    """File name to contents; written with mode 0600, since a workload holds a token."""


def make_job(workload: Any, *, environment: str, memory_limit_bytes: int | None) -> WorkloadJob:
    """Make the job that runs `workload` with the interpreter and variables saved as `environment`.

    :raises ConfigurationError: what its DAG says to this executor cannot be understood.
    """
    kind = compat.get_kind(workload)
    labels, prefix, priority = _describe(kind, workload)
    words = tuple(labels[name] for name in ("dag_id", "task_id", "run_id") if labels.get(name))
    task = TaskSpec(
        id=TASK_ID,
        command="airflow-workload",
        args=words or (prefix,),
        runner="airflow",
        workload=WORKLOAD_FILE,
        env=read_executor_config(workload).variables(),
        memory_limit_bytes=memory_limit_bytes,
    )
    spec = JobSpec(
        name=job_names.make_unique(prefix),
        tasks=(task,),
        # Airflow's database is the durable record of its tasks: what a power cut takes is found missing at adoption.
        options=JobOptions(priority=priority, durable=False, announce=True, environment=environment),
        labels={"kind": kind, **labels},
    )
    return WorkloadJob(spec, {WORKLOAD_FILE: workload.model_dump_json().encode()})


def _describe(kind: str, workload: Any) -> tuple[dict[str, str], str, int]:
    log_path = getattr(workload, "log_path", None)
    log_label = {"log_path": str(log_path)} if log_path else {}
    if kind == compat.KIND_TASK:
        ti = workload.ti
        prefix = job_names.make_task_prefix(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number, str(ti.id))
        labels = {
            "dag_id": ti.dag_id,
            "task_id": ti.task_id,
            "run_id": ti.run_id,
            "map_index": str(ti.map_index),
            "try_number": str(ti.try_number),
            "ti_id": str(ti.id),
        }
        return labels | log_label, prefix, max(-_MAX_PRIORITY, min(ti.priority_weight, _MAX_PRIORITY))
    # Airflow runs these before tasks, because they complete work that is under way.
    if kind == compat.KIND_CALLBACK:
        callback_id = str(workload.callback.id)
        return {"callback_id": callback_id} | log_label, job_names.make_callback_prefix(callback_id), _MAX_PRIORITY
    test_id = str(workload.connection_test_id)
    return {"connection_test_id": test_id}, job_names.make_connection_test_prefix(test_id), _MAX_PRIORITY
