"""Does once, before the first fork, what each task does: read a DAG file, render a template, ask the API.

The work leaves behind what speeds it up: caches of regular expressions, templates, classes and settings, and bytecode
that the interpreter has specialised, all in pages that tasks share. Nothing is run, no listener hears of it, and
no server is asked.
"""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_DAG_ID = "air_executor_rehearsal"
_NOWHERE = "http://127.0.0.1:1/"
_ROUNDS = 3
"""The interpreter specialises what it has run more than once."""

_DAG_FILE = f"""
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, chain, dag, task

with DAG("{_DAG_ID}", schedule=None):
    chain(*(BashOperator(task_id=f"bash_{{number}}", bash_command="echo {{{{ ds }}}}") for number in range(8)))
    PythonOperator(task_id="python", python_callable=print)

@dag("{_DAG_ID}_decorated", schedule="@daily")
def decorated():
    @task
    def first():
        return 1

    @task
    def second(number):
        return number

    second(first())

decorated()
"""


def rehearse_parsing() -> None:
    """Read a small DAG file and render one of its templates, a few times."""
    with tempfile.TemporaryDirectory(prefix="air-executor-") as directory, _quiet():
        path = Path(directory) / "rehearsal.py"
        path.write_text(_DAG_FILE)
        for _ in range(_ROUNDS):
            dag = _read(path)
            if dag is None:
                # A policy of this site may refuse it.
                break
            task = dag.get_task("bash_0")
            task.render_template(task.bash_command, {"ds": "2000-01-01"}, dag.get_template_env())
    # What was read is no module of anybody.
    for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == str(path)]:
        del sys.modules[name]


def _read(path: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

        return DagBag(str(path), include_examples=False).dags.get(_DAG_ID)
    return BundleDagBag(str(path), bundle_path=path.parent, bundle_name="rehearsal").dags.get(_DAG_ID)


def rehearse_requests() -> None:
    """Say that a task lives and has ended to a client whose requests go nowhere, and read answers that nobody sent."""
    import httpcore
    import httpx
    from airflow.sdk.api.client import Client

    task_instance_id = uuid.uuid4()
    nowhere = httpx.MockTransport(lambda _: httpx.Response(204))
    with Client(base_url=_NOWHERE, token="", transport=nowhere) as client, _quiet():
        for _ in range(_ROUNDS):
            client.task_instances.heartbeat(task_instance_id, os.getpid())
            client.task_instances.finish(
                task_instance_id, "failed", datetime.now(tz=timezone.utc), rendered_map_index=None
            )
    answers = [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"] * _ROUNDS
    with httpcore.ConnectionPool(network_backend=httpcore.MockBackend(answers)) as pool:
        for _ in range(_ROUNDS):
            pool.request("POST", _NOWHERE, headers={"Content-Type": "application/json"}, content=b"{}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what is printed and logged to nowhere, whoever holds which stream."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
