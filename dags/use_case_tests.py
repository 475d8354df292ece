"""Use case, testing: find the test files of a project, run them in parallel, and go on to what their results allow.

Each file of unit tests is a task; when it has passed, it queues the integration tests of its part. Run it with `bug` to see
what a failure looks like.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import sys
from pathlib import Path

from airflow.sdk import DAG, Param, task

from air_executor.airflow.operators import AirExecutorSubmitOperator
from air_executor.airflow.sensors import AirExecutorJobSensor

DAG_ID = "use_case_tests"
WORK = Path(__file__).parent / "work"

with DAG(
    DAG_ID,
    description="Find the tests of a project, run them in parallel, publish a report",
    schedule=None,
    tags=["air-executor", "use-case"],
    params={"bug": Param(False, type="boolean", description="put a bug into the project first")},
) as dag:

    @task
    def build(run_id: str, params: dict) -> str:
        """Copy the project, as a checkout of one commit would be, and return where it is."""
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        project = home / "air-executor-examples" / DAG_ID / f"run-{run_id}" / "webshop"
        shutil.copytree(WORK / "webshop", project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        if params["bug"]:
            stock = project / "shop" / "stock.py"
            stock.write_text(stock.read_text().replace("pieces > self.available(article)", "pieces < 0"))
        return str(project)

    @task
    def health_check(project: str) -> None:
        """Check that the project can be compiled: else every test would say so."""
        if not compileall.compile_dir(project, quiet=1):
            raise ValueError(f"{project} cannot be compiled")

    project = build()

    # A test that fails is an outcome, not an accident: the job completes all the same, and the report tells.
    run_tests = AirExecutorSubmitOperator(
        task_id="run_tests",
        tasks=[
            {"id": "discover", "command": sys.executable, "args": [str(WORK / "suites.py"), "discover", project]},
        ],
        tolerated_failures=10_000,
    )

    # Submitting and waiting apart: other tasks may run in between, and others may wait for the same job.
    wait_for_tests = AirExecutorJobSensor(
        task_id="wait_for_tests", job_name=run_tests.output, deferrable=True, timeout=1800
    )

    @task
    def collect_reports(summary: dict, job_name: str) -> list[dict]:
        """Return what became of each test file, also of those that could not even be run."""
        from air_executor.airflow.hook import AirExecutorHook

        reports = []
        for each in AirExecutorHook().get_client().tasks(job_name):
            result = summary["results"].get(each.id)
            if result is not None:
                reports.append({"file": each.id, **result})
            elif each.status.value != "completed":
                reports.append({"file": each.id, "run": 0, "failed": [f"{each.status.value}: {each.error}"]})
        return reports

    @task
    def publish(reports: list[dict], project: str) -> str:
        """Write the report beside the project, and return its path."""
        path = Path(project).parent / "report.json"
        path.write_text(json.dumps(reports, indent=2))
        for each in sorted(reports, key=lambda report: report["file"]):
            print(
                f"{'❌' if each['failed'] else '✅'} {each['file']}: {each['run']} tests, {len(each['failed'])} failed"
            )
        return str(path)

    @task
    def notify_of_failures(reports: list[dict], report_path: str) -> None:
        """Fail if a test failed."""
        failed = [name for each in reports for name in each["failed"]]
        if failed:
            raise RuntimeError(f"{len(failed)} tests failed ({', '.join(failed)}): see {report_path}")
        print(f"all {sum(each['run'] for each in reports)} tests have passed")

    health_check(project) >> run_tests
    reports = collect_reports(wait_for_tests.output, run_tests.output)
    notify_of_failures(reports, publish(reports, project))
