"""The DAGs in dags/, each run by a real scheduler, executor and triggerer."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from air_executor import AirExecutorClient
from tests.airflow.conftest import Stage
from tests.support.waiting import wait_until

DAGS = Path(__file__).parents[2] / "dags"
CORE = ("air_executor_demo", "hybrid_control_flow")
CONF: dict[str, Any] = {"use_case_data_partitions": {"days": 5}}
LIMIT_S = 240

pytestmark = [pytest.mark.only_air, pytest.mark.timeout(600)]

RESULTS = """
==============================================================
🎉 Air-Executor Job Results
==============================================================
Job Name: airflow-{run_id}
Final State: completed
Created: <date>T<time>Z
Updated: <date>T<time>Z

Task Execution Details:
--------------------------------------------------------------
✅ greet: completed
   Command: echo Hello from Airflow DAG run: {run_id}
   Started: <date> <time>
   Completed: <date> <time>

✅ process: completed
   Command: sleep 3
   Started: <date> <time>
   Completed: <date> <time>

✅ complete: completed
   Command: echo Air-Executor job completed successfully!
   Started: <date> <time>
   Completed: <date> <time>

==============================================================
"""


class Runs:
    """Runs of the DAGs in dags/, which stand beside the tests' own for as long as these tests take."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.api = stage.api
        self.client = AirExecutorClient(stage.site.base_path)
        self.first: dict[str, str] = {}

    def start(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        return self.api.trigger(dag_id, conf)

    def end(self, dag_id: str, run_id: str | None = None, state: str = "success") -> str:
        run_id = run_id or self.first[dag_id]
        reached = self.api.wait_for_run(dag_id, run_id, timeout_s=LIMIT_S)
        assert reached == state, self.api.states(dag_id, run_id)
        return run_id

    def succeeded(self, dag_id: str, *task_ids: str) -> str:
        run_id = self.end(dag_id)
        assert self.api.states(dag_id, run_id) == dict.fromkeys(task_ids, "success")
        return run_id

    def directory(self, dag_id: str, run_id: str) -> Path:
        return self.stage.site.home / "air-executor-examples" / dag_id / f"run-{run_id}"


@pytest.fixture(scope="module")
def runs(stage: Stage) -> Iterator[Runs]:
    folder = stage.site.dags_folder / "examples"
    shutil.copytree(DAGS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    dag_ids = sorted(path.stem for path in DAGS.glob("*.py"))
    chosen = dag_ids if stage.database == "sqlite" else CORE
    runs = Runs(stage)
    runs.api.wait_for_dags(dag_ids)
    assert runs.api.import_errors() == []
    # All at once, because each spends its time waiting.
    runs.first = {dag_id: runs.start(dag_id, CONF.get(dag_id)) for dag_id in chosen}
    yield runs
    # The DAG processor would parse them until the end.
    shutil.rmtree(folder)


def test_the_first_example(runs):
    run_id = runs.succeeded("example_air_executor_dag", "print_date", "sleep", "print_hello")

    assert "Hello from Air-Executor!" in runs.api.log("example_air_executor_dag", run_id, "print_hello")


@pytest.mark.core
def test_the_demo_shows_states_and_results_in_its_logs(runs):
    dag_id = "air_executor_demo"
    tasks = ("create_air_executor_job", "wait_for_air_executor_completion", "get_air_executor_results")
    run_id = runs.succeeded(dag_id, *tasks)

    job = f"airflow-{run_id}"
    assert runs.api.xcom(dag_id, run_id, tasks[0]) == job
    watched = runs.api.log(dag_id, run_id, tasks[1])
    assert f"📊 Job {job} state: completed\n   Tasks: 3/3 completed\n" in watched
    for state, done in re.findall(rf"📊 Job {re.escape(job)} state: (\w+)\n   Tasks: (\d)/3 completed", watched):
        assert (state, int(done)) in {("waiting", 0), ("working", 0), ("working", 1), ("working", 2), ("completed", 3)}
    results = re.escape(RESULTS.format(run_id=run_id))
    results = results.replace("<date>", r"\d{4}-\d\d-\d\d").replace("<time>", r"\d\d:\d\d:\d\d\.\d{6}")
    assert re.search(results, runs.api.log(dag_id, run_id, tasks[2]))
    assert [task.dependencies for task in runs.client.tasks(job)] == [(), ("greet",), ("process",)]


def test_the_demo_fails_with_the_reason_and_a_cleared_run_goes_on(runs):
    dag_id = "air_executor_demo"
    run_id = runs.start(dag_id)
    job = f"airflow-{run_id}"

    os.kill(_wait_for_runner(runs, job, "process"), signal.SIGKILL)

    runs.end(dag_id, run_id, "failed")
    states = runs.api.states(dag_id, run_id)
    assert states == {
        "create_air_executor_job": "success",
        "wait_for_air_executor_completion": "success",
        "get_air_executor_results": "failed",
    }
    log = runs.api.log(dag_id, run_id, "get_air_executor_results")
    assert "Final State: failed" in log
    assert re.search(
        r"❌ process: failed\n   Command: sleep 3\n   Started: .*\n   Completed: .*\n   Error: .*SIGKILL", log
    )
    assert "⚪ complete: skipped" in log
    assert re.search(rf"RuntimeError: Air-Executor job {re.escape(job)} failed: process: .*SIGKILL", log)

    runs.api.clear(dag_id, run_id, list(states))
    runs.end(dag_id, run_id)
    # The same job, and what had completed in it was not run again.
    assert runs.api.xcom(dag_id, run_id, "create_air_executor_job") == job
    assert {task.id: task.attempt for task in runs.client.tasks(job)} == {"greet": 1, "process": 2, "complete": 1}


def test_a_demo_that_succeeded_is_run_anew_when_it_is_cleared(runs):
    dag_id = "air_executor_demo"
    run_id = runs.end(dag_id)
    first = runs.client.job(f"airflow-{run_id}")

    runs.api.clear(dag_id, run_id, list(runs.api.states(dag_id, run_id)))
    runs.end(dag_id, run_id)

    name = runs.api.xcom(dag_id, run_id, "create_air_executor_job")
    assert (name, runs.client.job(name).state.value) == (f"airflow-{run_id}.2", "completed")
    assert runs.client.job(f"airflow-{run_id}") == first


def test_the_pipeline_with_the_client_alone(runs):
    dag_id = "air_executor_pipeline"
    run_id = runs.succeeded(dag_id, "create_air_executor_job", "wait_for_completion", "get_job_result")

    assert runs.api.xcom(dag_id, run_id, "create_air_executor_job", "job_id") == run_id
    assert [task.id for task in runs.client.tasks(run_id)] == ["task-1", "task-2", "task-3"]
    result = runs.api.xcom(dag_id, run_id, "get_job_result")
    assert (result["name"], result["state"], result["tasks"]["completed"]) == (run_id, "completed", 3)
    assert f"Job {run_id} completed successfully!" in runs.api.log(dag_id, run_id, "get_job_result")

    runs.api.clear(dag_id, run_id, list(runs.api.states(dag_id, run_id)))
    runs.end(dag_id, run_id)
    again = runs.api.xcom(dag_id, run_id, "get_job_result")
    assert (again["name"], again["state"]) == (run_id, "completed")
    assert again["id"] != result["id"]


@pytest.mark.core
def test_the_hybrid_hands_one_task_over_and_gets_151_back(runs):
    dag_id = "hybrid_control_flow"
    before = ("setup_workspace", "validate_input")
    after = ("validate_results", "update_database", "send_notification")
    run_id = runs.succeeded(dag_id, *before, "process_with_air_executor", *after)

    summary = runs.api.xcom(dag_id, run_id, "process_with_air_executor")
    assert summary["counts"]["total"] == summary["counts"]["completed"] == 151
    ids = [task.id for task in runs.client.tasks(summary["job_name"])]
    assert len(set(ids)) == 151
    assert sum(task_id.endswith("-from-50") for task_id in ids) == 50
    log = runs.api.log(dag_id, run_id, "process_with_air_executor")
    assert "📊 Air-Executor Progress Report" in log
    assert re.search(r"Total: +151\n  Completed: +151 \(100\.0%\)", log)
    assert "151 tasks have completed" in runs.api.log(dag_id, run_id, "send_notification")
    found = _read_table(runs.directory(dag_id, run_id) / "customers.db", "customers")
    files = (runs.directory(dag_id, run_id) / "customers").glob("*.csv")
    assert found == sorted((path.stem, *_add_up(path)) for path in files)
    assert len(found) == 100


def test_partitions_add_up_in_two_runs_at_once(runs):
    dag_id = "use_case_data_partitions"
    second = runs.start(dag_id, {"days": 3})
    run_id = runs.succeeded(dag_id, "make_dataset", "process_partitions", "merge_results", "load_warehouse")
    runs.end(dag_id, second)

    for each, days in ((run_id, 5), (second, 3)):
        directory = runs.directory(dag_id, each)
        products: dict[str, int] = {}
        for path in directory.glob("sales/day=*/*.csv"):
            for line in csv.DictReader(path.read_text().splitlines()):
                if line["pieces"].isdigit():
                    cents = int(line["pieces"]) * int(line["price_cents"])
                    products[line["product"]] = products.get(line["product"], 0) + cents
        assert products == runs.api.xcom(dag_id, each, "merge_results")
        assert sorted(products.items()) == _read_table(directory / "warehouse.db", "turnover")
        assert runs.api.xcom(dag_id, each, "process_partitions")["counts"]["completed"] == 1 + days


def test_hyper_parameters_find_the_true_degree(runs):
    dag_id = "use_case_hyper_parameters"
    run_id = runs.succeeded(dag_id, "prepare_data", "validate_features", "search", "select_best_model", "deploy")

    job = runs.api.xcom(dag_id, run_id, "search")["job_name"]
    tasks = runs.client.tasks(job)
    assert len(tasks) == 1 + 12 + 12
    assert {task.status.value for task in tasks} == {"completed"}
    model = json.loads((runs.directory(dag_id, run_id) / "production.json").read_text())
    assert model == runs.api.xcom(dag_id, run_id, "select_best_model")
    assert model["degree"] == 3
    points = json.loads((runs.directory(dag_id, run_id) / "test.json").read_text())
    errors = [sum(c * x**power for power, c in enumerate(model["coefficients"])) - y for x, y in points]
    assert sum(error**2 for error in errors) / len(errors) == pytest.approx(model["test_error"])
    # The noise of the data has a variance of 0.04; no model can be better.
    assert 0.03 < model["test_error"] < 0.07


def test_scraping_reads_each_page_once_and_leaves_no_server(runs):
    dag_id = "use_case_scraping"
    tasks = ("set_up_storage", "start_shop", "wait_for_shop", "scrape", "deduplicate", "report", "stop_shop")
    run_id = runs.succeeded(dag_id, *tasks)

    pages = runs.client.tasks(runs.api.xcom(dag_id, run_id, "scrape")["job_name"])
    assert sorted(task.id for task in pages) == sorted(f"page {number}" for number in range(1, 25))
    # Two pages could not be had at the first request.
    assert {task.id for task in pages if task.attempt == 2} == {"page 7", "page 19"}
    articles = runs.api.xcom(dag_id, run_id, "deduplicate")
    assert [article["number"] for article in articles] == list(range(1, 6 + 24 * 8 + 1))
    lines = (runs.directory(dag_id, run_id) / "report.txt").read_text().splitlines()
    assert lines[0] == "198 articles"
    assert sorted(lines[1:]) == lines[1:]
    shop = runs.api.xcom(dag_id, run_id, "start_shop")
    wait_until(lambda: runs.client.job(shop).state.value, lambda state: state == "cancelled")
    assert _processes(runs, shop) == []


def test_tests_are_found_run_and_reported(runs):
    dag_id = "use_case_tests"
    tasks = ("build", "health_check", "run_tests", "wait_for_tests", "collect_reports", "publish")
    run_id = runs.succeeded(dag_id, *tasks, "notify_of_failures")

    reports = json.loads((runs.directory(dag_id, run_id) / "report.json").read_text())
    assert {report["file"]: (report["run"], report["failed"]) for report in reports} == {
        "tests/unit/test_prices.py": (3, []),
        "tests/unit/test_stock.py": (2, []),
        "tests/unit/test_cart.py": (1, []),
        "tests/integration/test_stock.py": (1, []),
        "tests/integration/test_cart.py": (1, []),
    }
    assert "all 8 tests have passed" in runs.api.log(dag_id, run_id, "notify_of_failures")


def test_a_bug_is_reported_and_keeps_integration_tests_from_running(runs):
    dag_id = "use_case_tests"
    run_id = runs.start(dag_id, {"bug": True})
    runs.end(dag_id, run_id, "failed")

    failed = "tests.unit.test_stock.StockTest.test_nobody_takes_more_than_there_is"
    assert [task for task, state in runs.api.states(dag_id, run_id).items() if state != "success"] == [
        "notify_of_failures"
    ]
    reports = json.loads((runs.directory(dag_id, run_id) / "report.json").read_text())
    assert {report["file"]: report["failed"] for report in reports} == {
        "tests/unit/test_prices.py": [],
        "tests/unit/test_stock.py": [failed],
        "tests/unit/test_cart.py": [],
        "tests/integration/test_cart.py": [],
    }
    assert f"1 tests failed ({failed})" in runs.api.log(dag_id, run_id, "notify_of_failures")
    job = runs.api.xcom(dag_id, run_id, "run_tests")
    assert [task.error for task in runs.client.tasks(job) if task.error] == [f"failed: {failed} (exit code 1)"]


def _processes(runs: Runs, job: str) -> list[psutil.Process]:
    found = []
    for process in runs.stage.site.processes():
        try:
            if process.environ().get("AIR_EXECUTOR_JOB") == job:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _wait_for_runner(runs: Runs, job: str, task_id: str) -> int:
    # From the spool: looking at all processes may take longer than this one lives.
    def look() -> list[int]:
        lines = [line for spool in (runs.client.base_path / "run").glob("*.jsonl") for line in _lines(spool)]
        started = [json.loads(line) for line in lines if line.startswith('{"type":"started"') and job in line]
        words = [(each["attempt_id"].split("/"), each["pid"]) for each in started]
        return [pid for (name, _, task, _), pid in words if (name, task) == (job, task_id)]

    return wait_until(look, timeout_s=LIMIT_S, what=f"a runner of {task_id} in job {job}")[0]


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except FileNotFoundError:
        return []


def _read_table(path: Path, table: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(path)
    try:
        return sorted(database.execute(f"SELECT * FROM {table}"))
    finally:
        database.close()


def _add_up(path: Path) -> tuple[int, int]:
    cents = [int(line["cents"]) for line in csv.DictReader(path.read_text().splitlines())]
    return len(cents), sum(cents)
