"""Submit a job, wait for it, take its result: with ordinary Airflow operators and the Python client alone.

A manager has to run on the base path; with `executor = air_executor.AirExecutorExecutor` it does.
"""

from __future__ import annotations

import json

from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG


def create_air_executor_job(**context):
    """Create the job of this DAG run."""
    from air_executor import AirExecutorClient
    from air_executor.errors import JobExistsError

    client = AirExecutorClient()
    job_name = context["dag_run"].run_id
    tasks = [
        {"command": "echo", "args": ["Task 1"], "dependencies": []},
        {"command": "sleep", "args": ["2"], "dependencies": []},
        {"command": "echo", "args": ["Task 2"], "dependencies": []},
    ]
    try:
        job_id = client.create_job(job_name=job_name, tasks=tasks)
    except JobExistsError:
        # This task was retried or cleared. A job that is not over goes on; one that is over gives way to a new one.
        job_id = job_name
        if client.job(job_name).state.is_terminal:
            client.remove(job_name)
            job_id = client.create_job(job_name=job_name, tasks=tasks)

    # For whoever looks at the run: under which name to find the job.
    context["task_instance"].xcom_push(key="job_id", value=job_id)
    return job_id


def check_job_complete(**context):
    """Say whether the job is over."""
    from air_executor import AirExecutorClient

    return AirExecutorClient().job(context["dag_run"].run_id).state.is_terminal


def get_job_result(**context):
    """Return what state.json says; fail if the job did not complete."""
    from air_executor import AirExecutorClient

    job_name = context["dag_run"].run_id
    state_file = AirExecutorClient().job_path(job_name) / "state.json"
    with open(state_file) as f:
        state = json.load(f)

    if state["state"] != "completed":
        raise Exception(f"Air-Executor job {job_name} {state['state']}: {state['error']}")

    print(f"Job {job_name} completed successfully!")
    return state


with DAG(
    "air_executor_pipeline",
    description="Submit and monitor Air-Executor jobs",
    schedule=None,
    tags=["air-executor", "example"],
) as dag:
    create_job = PythonOperator(task_id="create_air_executor_job", python_callable=create_air_executor_job)

    wait_for_job = PythonSensor(
        task_id="wait_for_completion",
        python_callable=check_job_complete,
        mode="poke",
        poke_interval=5,  # Check every 5 seconds
        timeout=600,  # 10 minute timeout
    )

    get_result = PythonOperator(task_id="get_job_result", python_callable=get_job_result)

    create_job >> wait_for_job >> get_result
