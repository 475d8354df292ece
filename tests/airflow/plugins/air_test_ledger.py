"""A record that tasks keep of themselves, independent of Airflow and of Air-Executor. Importable in every task."""

from __future__ import annotations

import os
import time
from pathlib import Path


def record(what: str, dag: str, task: str, run: str = "-", index: int = -1, attempt: int = 0) -> None:
    """Append one line: what happened, to whom, in which process. O_APPEND keeps lines of many writers whole."""
    line = f"{what} {dag} {task} {run} {index} {attempt} {os.getpid()} {time.time():.3f}\n"
    handle = os.open(os.environ["AIR_TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def record_instance(what: str, ti: object) -> None:
    """Append one line about a task instance."""
    record(what, ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number)


def record_deadline(**kwargs: object) -> None:
    """Be called by a deadline alert."""
    record("deadline", "deadline", str(kwargs.get("note", "-")))


def hold(name: str, limit_s: float = 120.0) -> None:
    """Wait until a test releases what waits under `name`."""
    deadline = time.monotonic() + limit_s
    release = Path(os.environ["AIR_TEST_RELEASE"]) / name
    while not release.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody released {name}")
        time.sleep(0.05)


LEDGER_LINE = "{{ dag.dag_id }} {{ ti.task_id }} {{ run_id }} {{ ti.map_index }} {{ ti.try_number }} $$ $(date +%s.%N)"
"""The same line for Bash operators, as a template."""

SAY_START = f'echo "start {LEDGER_LINE}" >> "$AIR_TEST_LEDGER"'
SAY_END = f'echo "end {LEDGER_LINE}" >> "$AIR_TEST_LEDGER"'
HOLD = 'for _ in $(seq 2400); do [ -e "$AIR_TEST_RELEASE/{{ run_id }}" ] && break; sleep 0.05; done'
