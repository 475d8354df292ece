"""Tasks of the DAG use_case_data_partitions: find the partitions of a dataset, and add up the sales in each of them.

partitions.py discover DIRECTORY
partitions.py process PARTITION
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from air_executor import queue_tasks, set_result


def discover(directory: Path) -> None:
    """Queue a task for each partition, the largest first: so all are done soonest."""
    partitions = [path for path in (directory / "sales").iterdir() if path.is_dir()]
    queue_tasks(
        {
            "id": path.name,
            "command": sys.executable,
            "args": [__file__, "process", str(path)],
            "priority": sum(part.stat().st_size for part in path.iterdir()),
        }
        for path in partitions
    )
    print(f"queued {len(partitions)} partitions")


def process(partition: Path) -> None:
    """Add up the sales of a partition by product; damaged lines are counted and left out."""
    products: dict[str, int] = {}
    sales = damaged = 0
    for part in sorted(partition.glob("*.csv")):
        with part.open(newline="") as file:
            for line in csv.DictReader(file):
                try:
                    cents = int(line["pieces"]) * int(line["price_cents"])
                except ValueError:
                    damaged += 1
                    continue
                sales += 1
                products[line["product"]] = products.get(line["product"], 0) + cents
    set_result({"sales": sales, "damaged": damaged, "products": products})
    print(f"{partition.name}: {sales} sales, {damaged} damaged lines")


if __name__ == "__main__":
    {"discover": discover, "process": process}[sys.argv[1]](Path(sys.argv[2]))
