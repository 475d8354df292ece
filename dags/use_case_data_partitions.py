"""Use case, data: find the partitions of a dataset, process them in parallel, merge what came out into a warehouse.

How many partitions there are, only the dataset knows; run it with other values of `days` to see.
"""

from __future__ import annotations

import csv
import os
import random
import sqlite3
import sys
from datetime import date, timedelta
from pathlib import Path

from airflow.sdk import DAG, Param, task

from air_executor.airflow.operators import AirExecutorJobOperator

DAG_ID = "use_case_data_partitions"
PROGRAM = str(Path(__file__).parent / "work" / "partitions.py")

with DAG(
    DAG_ID,
    description="Find the partitions of a dataset, process each, merge the results",
    schedule=None,
    tags=["air-executor", "use-case"],
    params={"days": Param(14, type="integer", minimum=1, maximum=366, description="partitions of the dataset")},
) as dag:

    @task
    def make_dataset(run_id: str, params: dict) -> dict:
        """Make sales of some days, a partition a day, with a damaged line here and there; return what is in them."""
        home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
        directory = home / "air-executor-examples" / DAG_ID / f"run-{run_id}"
        chance = random.Random(2)
        dataset = {"directory": str(directory), "partitions": params["days"], "sales": 0, "cents": 0, "damaged": 0}
        for number in range(params["days"]):
            partition = directory / "sales" / f"day={date(2026, 1, 1) + timedelta(days=number)}"
            partition.mkdir(parents=True, exist_ok=True)
            with (partition / "part-0.csv").open("w", newline="") as file:
                lines = csv.writer(file)
                lines.writerow(["product", "pieces", "price_cents"])
                for _ in range(chance.randint(20, 400)):
                    pieces, price = chance.randint(1, 9), chance.randint(100, 9_999)
                    is_damaged = chance.random() < 0.01
                    lines.writerow([chance.choice("ABCDE"), "?" if is_damaged else pieces, price])
                    dataset["damaged" if is_damaged else "sales"] += 1
                    dataset["cents"] += 0 if is_damaged else pieces * price
        return dataset

    dataset = make_dataset()

    # What tasks leave as their result comes back as the XCom of this one task.
    process_partitions = AirExecutorJobOperator(
        task_id="process_partitions",
        tasks=[{"id": "discover", "command": sys.executable, "args": [PROGRAM, "discover", dataset["directory"]]}],
    )

    @task
    def merge_results(summary: dict, dataset: dict) -> dict[str, int]:
        """Add up the partitions, and hold the sum against what was made; return cents by product."""
        parts = [part for task_id, part in summary["results"].items() if task_id != "discover"]
        sums = {name: sum(part[name] for part in parts) for name in ("sales", "damaged")}
        products: dict[str, int] = {}
        for part in parts:
            for product, cents in part["products"].items():
                products[product] = products.get(product, 0) + cents
        merged = {"partitions": len(parts), "cents": sum(products.values()), **sums}
        made = {name: dataset[name] for name in merged}
        if merged != made:
            raise ValueError(f"the partitions add up to {merged}, but the dataset holds {made}")
        print(f"{merged['partitions']} partitions: {merged['sales']} sales, {merged['damaged']} damaged lines")
        return products

    @task
    def load_warehouse(products: dict[str, int], dataset: dict) -> str:
        """Store the turnover of each product; a repeated run replaces it."""
        path = Path(dataset["directory"], "warehouse.db")
        database = sqlite3.connect(path)
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS turnover (product TEXT PRIMARY KEY, cents INT)")
            database.executemany("INSERT OR REPLACE INTO turnover VALUES (?, ?)", sorted(products.items()))
        database.close()
        return str(path)

    load_warehouse(merge_results(process_partitions.output, dataset), dataset)
