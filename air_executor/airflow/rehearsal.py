"""Does once, before the first fork, what each task does: read a DAG file, render a template, ask the API.

The work leaves behind what speeds it up: caches of regular expressions, templates, classes and settings, and bytecode
that the interpreter has specialised, all in pages that tasks share. Nothing is run, no listener hears of it, and
no server is asked.
"""

from __future__ import annotations

import io
import os
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from air_executor.airflow import compat, rehearsal_server, rehearsal_stage

DAG_ID = "air_executor_rehearsal"
ROUNDS = 3
"""The interpreter specialises what it has run more than once."""

_DAG_FILE = f"""
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, chain, dag, task

with DAG("{DAG_ID}", schedule=None):
    chain(*(BashOperator(task_id=f"bash_{{number}}", bash_command="echo {{{{ ds }}}}") for number in range(8)))
    PythonOperator(task_id="python", python_callable=lambda: 1)

    @task
    def first():
        return 1

    @task
    def second(number):
        return number

    second(first())

@dag("{DAG_ID}_decorated", schedule="@daily")
def decorated():
    @task
    def alone():
        return 1

    alone()

decorated()
"""


def write_dag_file(directory: Path) -> Path:
    """Write a small DAG file; return its path."""
    path = directory / "rehearsal.py"
    path.write_text(_DAG_FILE)
    return path


def rehearse_parsing() -> None:
    """Read a small DAG file and render one of its templates, a few times."""
    rehearsal_stage.perform(_parse)


def _parse(directory: Path) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    path = write_dag_file(directory)
    for _ in range(ROUNDS):
        # Reads settings; what it makes of them, bundles of this site, is asked for nothing.
        DagBundlesManager()  # type: ignore[no-untyped-call] # Airflow's
        dag = _read(path)
        if dag is None:
            # A policy of this site may refuse it.
            break
        task = dag.get_task("bash_0")
        task.render_template(task.bash_command, {"ds": "2000-01-01"}, dag.get_template_env())


def _read(path: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

        return DagBag(str(path), include_examples=False).dags.get(DAG_ID)
    return BundleDagBag(str(path), bundle_path=path.parent, bundle_name="rehearsal").dags.get(DAG_ID)


def rehearse_requests() -> None:
    """Say that a task lives and has ended to a server that does not exist, and read its answers."""
    rehearsal_stage.perform(_ask)


def _ask(_: Path) -> None:
    from airflow.sdk.api.client import Client

    task_instance_id = uuid.uuid4()
    for _round in range(ROUNDS):
        compat.find_execution_api_url()
        # What each supervisor makes for itself; this one asks nothing.
        Client(base_url=rehearsal_server.NOWHERE, token="").close()
        with rehearsal_server.connected_client() as client:
            client.task_instances.heartbeat(task_instance_id, os.getpid())
            client.task_instances.finish(
                task_instance_id, "failed", datetime.now(tz=timezone.utc), rendered_map_index=None
            )


def rehearse_logging() -> None:
    """Set up logging as task processes do. Before this process sets up its own: only then nothing of it remains."""
    from airflow.sdk import log

    reset: Callable[[], None] = log.reset_logging
    # Not the function that remembers for which streams it was called.
    configure = getattr(log.configure_logging, "__wrapped__", log.configure_logging)
    excepthook = sys.excepthook
    try:
        for _ in range(ROUNDS):
            reset()
            configure(json_output=True, output=io.BytesIO(), sending_to_supervisor=True)
    finally:
        sys.excepthook = excepthook
        reset()
