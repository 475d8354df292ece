"""Airflow orchestrates a job: hand three tasks over, follow them in the log, show how each of them went.

The waiting and the results are written out here, to show what a job looks like from Python. `AirExecutorJobOperator`, as in
hybrid_control_flow.py, does all of it in one task.
"""

from __future__ import annotations

import logging

from airflow.sdk import DAG, task

from air_executor.airflow.hook import AirExecutorHook
from air_executor.airflow.operators import AirExecutorSubmitOperator

log = logging.getLogger(__name__)

LINE = "=" * 62
SYMBOLS = {"completed": "✅", "failed": "❌"}

with DAG(
    "air_executor_demo",
    description="Demo: Airflow orchestrating Air-Executor jobs",
    schedule=None,
    tags=["air-executor", "demo", "integration"],
) as dag:
    # Retried or cleared, it goes on with the job that it handed over before, and runs again what failed in it.
    create_job = AirExecutorSubmitOperator(
        task_id="create_air_executor_job",
        job_name="airflow-{{ run_id }}",
        tasks=[
            {"id": "greet", "command": "echo", "args": ["Hello from Airflow DAG run: {{ run_id }}"]},
            {"id": "process", "command": "sleep", "args": ["3"], "dependencies": ["greet"]},
            {
                "id": "complete",
                "command": "echo",
                "args": ["Air-Executor job completed successfully!"],
                "dependencies": ["process"],
            },
        ],
    )

    @task.sensor(poke_interval=2, timeout=300, mode="poke")
    def wait_for_air_executor_completion(job_name: str) -> bool:
        """Wait until the job is over, however it ended: the next task tells how."""
        job = AirExecutorHook().get_client().job(job_name)
        done, total = job.tasks.get("completed", 0), job.tasks.get("total", 0)
        log.info("📊 Job %s state: %s\n   Tasks: %d/%d completed", job_name, job.state.value, done, total)
        return job.state.is_terminal

    @task
    def get_air_executor_results(job_name: str) -> dict[str, str]:
        """Show how each task went, and fail if the job did not complete."""
        client = AirExecutorHook().get_client()
        job = client.job(job_name)
        tasks = client.tasks(job_name)
        lines = [
            LINE,
            "🎉 Air-Executor Job Results",
            LINE,
            f"Job Name: {job.name}",
            f"Final State: {job.state.value}",
            f"Created: {job.created_at:%Y-%m-%dT%H:%M:%S.%fZ}",
            f"Updated: {job.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}",
            "",
            "Task Execution Details:",
            "-" * len(LINE),
        ]
        for each in tasks:
            lines.append(f"{SYMBOLS.get(each.status.value, '⚪')} {each.id}: {each.status.value}")
            lines.append(f"   Command: {' '.join((each.command, *each.args))}")
            if each.started_at:
                lines.append(f"   Started: {each.started_at:%Y-%m-%d %H:%M:%S.%f}")
            if each.completed_at:
                lines.append(f"   Completed: {each.completed_at:%Y-%m-%d %H:%M:%S.%f}")
            if each.error:
                lines.append(f"   Error: {each.error}")
            lines.append("")
        # One message: what a task prints line by line comes into the log beside it, and may be torn apart.
        log.info("\n%s", "\n".join([*lines, LINE]))
        if job.state.value != "completed":
            reasons = [f"{each.id}: {each.error}" for each in tasks if each.status.value == "failed"]
            raise RuntimeError(f"Air-Executor job {job.name} {job.state.value}: {'; '.join(reasons) or job.error}")
        return {each.id: each.status.value for each in tasks}

    wait_for_air_executor_completion(create_job.output) >> get_air_executor_results(create_job.output)
