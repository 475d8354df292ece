"""Airflow orchestrates a job: hand three tasks over, follow them in the log, show how each of them went.

The waiting and the results are written out here, to show what a job looks like from Python. `AirExecutorJobOperator`, as in
hybrid_control_flow.py, does all of it in one task.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

from air_executor.airflow.hook import AirExecutorHook
from air_executor.airflow.operators import AirExecutorSubmitOperator

LINE = "=" * 62
SYMBOLS = {"completed": "✅", "failed": "❌"}

with DAG(
    "air_executor_demo",
    description="Demo: Airflow orchestrating Air-Executor jobs",
    schedule=None,
    tags=["air-executor", "demo", "integration"],
):
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
        print(f"📊 Job {job_name} state: {job.state.value}")
        print(f"   Tasks: {job.tasks.get('completed', 0)}/{job.tasks.get('total', 0)} completed")
        return job.state.is_terminal

    @task
    def get_air_executor_results(job_name: str) -> dict[str, str]:
        """Show how each task went, and fail if the job did not complete."""
        client = AirExecutorHook().get_client()
        job = client.job(job_name)
        tasks = client.tasks(job_name)
        print(LINE)
        print("🎉 Air-Executor Job Results")
        print(LINE)
        print(f"Job Name: {job.name}")
        print(f"Final State: {job.state.value}")
        print(f"Created: {job.created_at:%Y-%m-%dT%H:%M:%S.%fZ}")
        print(f"Updated: {job.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}")
        print()
        print("Task Execution Details:")
        print("-" * len(LINE))
        for each in tasks:
            print(f"{SYMBOLS.get(each.status.value, '⚪')} {each.id}: {each.status.value}")
            print(f"   Command: {' '.join((each.command, *each.args))}")
            if each.started_at:
                print(f"   Started: {each.started_at:%Y-%m-%d %H:%M:%S.%f}")
            if each.completed_at:
                print(f"   Completed: {each.completed_at:%Y-%m-%d %H:%M:%S.%f}")
            if each.error:
                print(f"   Error: {each.error}")
            print()
        print(LINE)
        if job.state.value != "completed":
            reasons = [f"{each.id}: {each.error}" for each in tasks if each.status.value == "failed"]
            raise RuntimeError(
                f"Air-Executor job {job.name} {job.state.value}: {'; '.join(reasons) or job.error or 'no reason is known'}"
            )
        return {each.id: each.status.value for each in tasks}

    wait_for_air_executor_completion(create_job.output) >> get_air_executor_results(create_job.output)
