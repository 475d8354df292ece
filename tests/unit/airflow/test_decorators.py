from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("airflow.sdk", reason="Airflow is not installed")

from airflow.sdk import DAG, task

from air_executor.airflow.decorators import air_executor_task
from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobSpec, TaskSpec
from air_executor.errors import InvalidJobError


@air_executor_task(discovers=True)
def look_for_files(count: int, *, suffix: str = ".csv") -> list[str]:
    import os

    # what it imports, it imports itself
    return [f"{os.environ['PREFIX']}{number}{suffix}" for number in range(count)]


@air_executor_task(max_parallel=2)
def list_tasks(count, ti=None):
    return [{"command": "echo", "args": [str(number), "{{ run_id }}"]} for number in range(count)]


def operator_of(argument):
    return argument.operator


def test_decorator_is_known_to_airflow():
    with DAG("decorated"):

        @task.air_executor(fail_fast=True)
        def tasks():
            return []

        operator = operator_of(tasks())

    assert operator.custom_operator_name == "@task.air_executor"
    assert operator.fail_fast is True


def test_function_gives_the_tasks(monkeypatch):
    with DAG("decorated"):
        operator = operator_of(list_tasks(2))
    monkeypatch.setattr(operator, "_hand_over", lambda context: operator.tasks)
    monkeypatch.setattr(operator, "_wait", lambda context, handed: handed)

    tasks = operator.execute({"run_id": "r1", "ti": None})

    assert [each["args"] for each in tasks] == [["0", "r1"], ["1", "r1"]]


def test_what_is_returned_is_the_summary_not_what_the_function_says():
    with DAG("decorated"):

        @air_executor_task()
        def tasks() -> dict:
            return {}

        assert operator_of(tasks()).multiple_outputs is False


def test_function_that_discovers_runs_in_the_job(tmp_path):
    with DAG("decorated"):
        operator = operator_of(look_for_files(2, suffix=".json"))
    attachments = operator._make_discovery({"suffix": ".json"})
    (given,) = operator.tasks
    client = AirExecutorClient(tmp_path / "root")
    client.submit(JobSpec(name="job", tasks=(TaskSpec(id="discover", command="true"),)), attachments)
    result = tmp_path / "result.json"

    subprocess.run(
        [given["command"], *given["args"]],
        env={
            **os.environ,
            "PREFIX": "data-",
            "AIR_EXECUTOR_BASE_PATH": str(client.base_path),
            "AIR_EXECUTOR_JOB": "job",
            "AIR_EXECUTOR_TASK": "discover",
            "AIR_EXECUTOR_RESULT_FILE": str(result),
        },
        cwd=Path(__file__).parents[3],
        check=True,
    )

    assert json.loads(result.read_text()) == ["data-0.json", "data-1.json"]
    assert given["command"] == sys.executable


def test_other_arguments_are_other_work():
    with DAG("decorated"):
        operator = operator_of(look_for_files(2))
    first = set(operator._make_discovery({"suffix": ".a"}))

    assert set(operator._make_discovery({"suffix": ".a"})) == first
    assert set(operator._make_discovery({"suffix": ".b"})) != first


def test_arguments_that_cannot_leave_the_process_are_refused():
    with DAG("decorated"):
        operator = operator_of(look_for_files(2))

    with pytest.raises(InvalidJobError, match="JSON"):
        operator._make_discovery({"suffix": object()})


def test_function_without_a_source_is_refused():
    with DAG("decorated"):
        operator = operator_of(air_executor_task(lambda: [{}], discovers=True, task_id="nameless")())

    with pytest.raises(InvalidJobError, match="def"):
        operator._make_discovery({})
