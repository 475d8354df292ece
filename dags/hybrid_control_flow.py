"""Airflow prepares, Air-Executor does work that nobody could count before, Airflow goes on with what came out.

One task is handed over. It finds 100 files and queues a task for each; half of the files turn out to be bigger than one task,
and their tasks queue one more: 1 + 100 + 50 = 151.
"""

from __future__ import annotations

import csv
import json
import os
import random
import sqlite3
import sys
from pathlib import Path

from airflow.sdk import DAG, task

from air_executor.airflow.operators import AirExecutorJobOperator

DAG_ID = "hybrid_control_flow"
CUSTOMERS = 100
PROGRAM = str(Path(__file__).parent / "work" / "customer_files.py")

with DAG(
    DAG_ID,
    description="Airflow hands over to Air-Executor, which finds its own tasks, and takes control back",
    schedule=None,
    tags=["air-executor", "hybrid"],
) as dag:
    # --- Airflow: what is known beforehand

    @task
    def setup_workspace(run_id: str) -> str:
        """Make this run's directory, with files as customers would have sent them, and return its path."""
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        workspace = home / "air-executor-examples" / DAG_ID / f"run-{run_id}"
        (workspace / "customers").mkdir(parents=True, exist_ok=True)
        (workspace / "results").mkdir(exist_ok=True)
        chance = random.Random(1)
        expected = {}
        for number in range(1, CUSTOMERS + 1):
            # Every second file is longer than what one task takes.
            amounts = [chance.randint(1, 10_000) for _ in range(30 if number % 2 else 80)]
            name = f"customer-{number:03}"
            with (workspace / "customers" / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([["order", "cents"], *enumerate(amounts, start=1)])
            expected[name] = {"orders": len(amounts), "cents": sum(amounts)}
        (workspace / "expected.json").write_text(json.dumps(expected))
        return str(workspace)

    @task
    def validate_input(workspace: str) -> int:
        """Check that there is something to do."""
        files = list(Path(workspace, "customers").glob("*.csv"))
        if not files:
            raise ValueError(f"there are no files in {workspace}/customers")
        print(f"{len(files)} files have arrived")
        return len(files)

    workspace = setup_workspace()

    # --- Air-Executor: as many tasks as there turn out to be

    # It waits in the triggerer, so that no worker is held meanwhile; its log shows progress. Retried, it goes on with its
    # job and runs again only what failed.
    process_with_air_executor = AirExecutorJobOperator(
        task_id="process_with_air_executor",
        tasks=[{"id": "discover", "command": sys.executable, "args": [PROGRAM, "discover", workspace]}],
        report_interval=2,
    )

    # --- Airflow again: what to do with the outcome

    @task(show_return_value_in_logs=False)
    def validate_results(summary: dict, workspace: str, arrived: int) -> dict[str, dict[str, int]]:
        """Check that nothing is missing and nothing was counted twice; return what each customer ordered."""
        counts = summary["counts"]
        print(f"Job {summary['job_name']}: {counts['completed']} of {counts['total']} tasks completed")
        wanted = 1 + arrived + arrived // 2
        if not counts["completed"] == counts["total"] == wanted:
            raise ValueError(f"{wanted} tasks should have completed, not {counts}")
        customers: dict[str, dict[str, int]] = {}
        for path in Path(workspace, "results").glob("*.json"):
            part = json.loads(path.read_text())
            customer = customers.setdefault(part["customer"], {"orders": 0, "cents": 0})
            customer["orders"] += part["orders"]
            customer["cents"] += part["cents"]
        if customers != json.loads(Path(workspace, "expected.json").read_text()):
            raise ValueError(f"{workspace}/results is not what was sent: compare with expected.json")
        return customers

    @task
    def update_database(workspace: str, customers: dict[str, dict[str, int]]) -> str:
        """Store one row a customer; a repeated run replaces them."""
        path = Path(workspace, "customers.db")
        database = sqlite3.connect(path)
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS customers (name TEXT PRIMARY KEY, orders INT, cents INT)")
            rows = [(name, each["orders"], each["cents"]) for name, each in customers.items()]
            database.executemany("INSERT OR REPLACE INTO customers VALUES (?, ?, ?)", rows)
        database.close()
        return str(path)

    @task
    def send_notification(summary: dict, database: str) -> None:
        """Tell that it is done; an EmailOperator would do here."""
        print(f"{summary['counts']['completed']} tasks have completed; the customers are in {database}")

    arrived = validate_input(workspace)
    arrived >> process_with_air_executor
    customers = validate_results(process_with_air_executor.output, workspace, arrived)
    send_notification(process_with_air_executor.output, update_database(workspace, customers))
