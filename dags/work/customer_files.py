"""Tasks of the DAG hybrid_control_flow: find the customers' files, and add up the orders in each of them.

customer_files.py discover WORKSPACE
customer_files.py process WORKSPACE NAME FIRST_ORDER
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

ORDERS_PER_TASK = 50


def discover(workspace: Path) -> None:
    """Queue a task for each file; they run in parallel."""
    from air_executor import queue_tasks

    names = sorted(path.stem for path in (workspace / "customers").glob("*.csv"))
    print(f"Found {len(names)} customer files")
    queue_tasks(_make_task(workspace, name, 0) for name in names)
    print(f"Queued {len(names)} tasks")


def process(workspace: Path, name: str, first: int) -> None:
    """Add up at most ORDERS_PER_TASK orders; if there are more, queue a task for them."""
    with (workspace / "customers" / f"{name}.csv").open(newline="") as file:
        orders = list(csv.DictReader(file))
    mine, rest = orders[first : first + ORDERS_PER_TASK], orders[first + ORDERS_PER_TASK :]
    if rest:
        from air_executor import queue_tasks

        # Only now it is known that this takes more than one task. Ids are made of what there is to do: queued again, by a
        # retried task, they add nothing.
        queue_tasks([_make_task(workspace, name, first + ORDERS_PER_TASK)])
        print(f"{name} has {len(rest)} more orders: queued one more task")
    result = {"customer": name, "orders": len(mine), "cents": sum(int(order["cents"]) for order in mine)}
    path = workspace / "results" / f"{name}.{first}.json"
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(result))
    # Whole or not at all, whatever kills the task.
    aside.replace(path)
    print(f"{name}: {result['orders']} orders, {result['cents']} cents")


def _make_task(workspace: Path, name: str, first: int) -> dict:
    return {
        "id": f"process-{name}" if first == 0 else f"process-{name}-from-{first}",
        "command": sys.executable,
        "args": [__file__, "process", str(workspace), name, str(first)],
    }


if __name__ == "__main__":
    if sys.argv[1] == "discover":
        discover(Path(sys.argv[2]))
    else:
        process(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
