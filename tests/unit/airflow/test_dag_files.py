"""The DAG files in dags/, parsed as a DAG processor would: often, and in no time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parents[3] / "dags"

# What a DAG file of Airflow's own operators has loaded anyway; then ours, watched.
PROGRAM = """
import importlib.util, json, sys, warnings
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, BaseHook, BaseOperatorLink, BaseSensorOperator, Param, PokeReturnValue, task

def other(): ...

with DAG("other"):
    task.sensor(other)() >> task(other)()
before = set(sys.modules)
work = []
seen = {}

def watch(event, arguments):
    is_write = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if is_write or event in ("socket.connect", "subprocess.Popen", "os.fork", "os.mkdir", "sqlite3.connect", "time.sleep"):
        work.append(f"{event} {arguments}")

sys.addaudithook(watch)
for path in sys.argv[1:]:
    work.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = importlib.util.spec_from_file_location("dag_file", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    seen[path] = {
        "dag_id": module.dag.dag_id,
        "description": module.dag.description,
        "tags": sorted(module.dag.tags),
        "tasks": {name: sorted(task.downstream_task_ids) for name, task in module.dag.task_dict.items()},
        "work": list(work),
        "modules": sorted(set(sys.modules) - before),
        "warnings": [f"{each.filename}: {each.message}" for each in caught],
    }
print(json.dumps(seen))
"""

FILES = sorted(DAGS.glob("*.py"))
LIGHT = {"air_executor", "airflow", "msgspec"}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory) -> dict[str, Any]:
    """What one process, which starts slowly enough, sees of all files."""
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM, *map(str, FILES)],
        env={"AIRFLOW_HOME": str(home), "HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    return {Path(path).name: each for path, each in seen.items()}


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_parsing_a_dag_file_is_light_and_does_nothing(name, parsed):
    seen = parsed[name]

    assert seen["dag_id"] == name.removesuffix(".py")
    assert seen["description"]
    assert "air-executor" in seen["tags"]
    assert seen["work"] == []
    assert [each for each in seen["warnings"] if "site-packages" not in each] == []
    packages = {module.partition(".")[0] for module in seen["modules"]}
    assert packages - LIGHT - sys.stdlib_module_names == set()
    assert not {"watchdog", "air_executor.client"} & set(seen["modules"])


def test_the_demo_is_as_its_description_says(parsed):
    seen = parsed["air_executor_demo.py"]

    assert seen["description"] == "Demo: Airflow orchestrating Air-Executor jobs"
    assert seen["tags"] == ["air-executor", "demo", "integration"]
    assert seen["tasks"] == {
        "create_air_executor_job": ["get_air_executor_results", "wait_for_air_executor_completion"],
        "wait_for_air_executor_completion": ["get_air_executor_results"],
        "get_air_executor_results": [],
    }


def test_the_programs_of_jobs_are_no_dag_files():
    assert (DAGS / ".airflowignore").read_text().splitlines()[-1] == "work/"
