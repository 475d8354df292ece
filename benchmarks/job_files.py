"""What job files cost the scheduler: submitting a job like the executor's, and settling it when it has ended."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec

# As long as Airflow's, which holds a token of about a kilobyte.
_WORKLOAD = b"x" * 2500


def measure_scheduler_side_ms(count: int = 500) -> dict[str, float]:
    """Return CPU and wall milliseconds per job of submitting and of reading back, in a fresh root."""
    with tempfile.TemporaryDirectory(prefix="air-bench-") as directory:
        client = AirExecutorClient(Path(directory) / "root")
        names = [f"airflow-independent-true_{number}-manual__2026-01-01T00:00:00+00:00-try1" for number in range(count)]
        jobs = [_job(name) for name in names]
        cpu, wall = time.process_time(), time.perf_counter()
        for job in jobs:
            client.submit(job, {"workload.json": _WORKLOAD})
        submitted_cpu, submitted_wall = time.process_time(), time.perf_counter()
        for name in names:
            client.job(name)
            client.tasks(name)
        read_cpu = time.process_time()
        return {
            "submit_cpu_ms": (submitted_cpu - cpu) / count * 1000,
            "submit_wall_ms": (submitted_wall - wall) / count * 1000,
            "read_cpu_ms": (read_cpu - submitted_cpu) / count * 1000,
        }


def _job(name: str) -> JobSpec:
    task = TaskSpec(
        id="airflow-task", command="airflow-workload", args=(name,), runner="airflow", workload="workload.json"
    )
    labels = {"kind": "task", "dag_id": "independent", "run_id": "manual__2026-01-01T00:00:00+00:00", "map_index": "-1"}
    return JobSpec(name=name, tasks=(task,), options=JobOptions(durable=False, announce=True), labels=labels)
