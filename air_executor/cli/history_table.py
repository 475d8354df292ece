"""The history as lines: runs, attempts, failures, and what a query found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from air_executor.cli.output import colour, format_table
from air_executor.cli.plain_text import show_instant, show_plain, split_error
from air_executor.core.quantities import show_duration, show_size

Row = Mapping[str, Any]
_NOTHING = "-"


def run_lines(runs: Sequence[Row]) -> list[str]:
    """Return a table of runs."""
    columns = ("JOB", "STATE", "TASKS", "DONE", "FAILED", "TOOK", "CREATED", "HOST")
    rows = [
        (
            run["job_name"],
            run["state"],
            str(run["total_tasks"]),
            str(run["completed_tasks"]),
            str(run["failed_tasks"]),
            _duration(run["duration_s"]),
            show_instant(run["created_at"]),
            run["host"],
        )
        for run in runs
    ]
    return format_table(columns, rows, sys.stdout)


def describe_run(run: Row, labels: Mapping[str, str]) -> list[str]:
    """Return what is known of a run as a whole."""
    state = colour(run["state"], sys.stdout)
    took = f", took {show_duration(run['duration_s'])}" if run["duration_s"] is not None else ""
    again = f", put back {run['generation'] - 1} times" if run["generation"] > 1 else ""
    lines = [
        f"{run['job_name']}: {state}, created {show_instant(run['created_at'])}{took}{again} (run {run['run_id']})"
    ]
    if run["error"]:
        lines.append(f"  {split_error(run['error'])[0]}")
    if labels:
        lines.append("  " + ", ".join(f"{name}={show_plain(value)}" for name, value in labels.items()))
    return lines


def attempt_lines(attempts: Sequence[Row]) -> list[str]:
    """Return a table of attempts of one run."""
    columns = ("  TASK", "ATTEMPT", "OUTCOME", "TOOK", "CPU", "MEMORY", "STARTED", "WHY")
    return format_table(columns, [(f"  {show_plain(each['task_id'])}", *_cells(each)) for each in attempts], sys.stdout)


def slow_lines(attempts: Sequence[Row]) -> list[str]:
    """Return a table of attempts of several jobs."""
    columns = ("JOB", "TASK", "ATTEMPT", "OUTCOME", "TOOK", "CPU", "MEMORY", "STARTED", "COMMAND")
    rows = [
        (each["job_name"], show_plain(each["task_id"]), *_cells(each)[:-1], show_plain(each["command"]))
        for each in attempts
    ]
    return format_table(columns, rows, sys.stdout)


def failure_lines(failures: Sequence[Row]) -> list[str]:
    """Return a table of what failed."""
    columns = ("ATTEMPTS", "RUNS", "OUTCOME", "LAST", "JOB", "COMMAND", "WHY")
    rows = [
        (
            str(each["attempts"]),
            str(each["runs"]),
            each["outcome"],
            _instant(each["last_at"]),
            each["job_name"],
            _cut(show_plain(each["command"])),
            split_error(each["error"])[0],
        )
        for each in failures
    ]
    return format_table(columns, rows, sys.stdout)


def plain_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return a table of whatever there is."""
    shown = [tuple(_NOTHING if cell is None else show_plain(str(cell)) for cell in row) for row in rows]
    return format_table(columns, shown, sys.stdout)


def _cells(attempt: Row) -> tuple[str, ...]:
    memory_bytes = attempt["peak_memory_bytes"]
    return (
        str(attempt["attempt"]),
        attempt["outcome"] or "running",
        _duration(attempt["duration_s"]),
        _duration(attempt["cpu_s"]),
        _NOTHING if memory_bytes is None else show_size(memory_bytes),
        _instant(attempt["started_at"]),
        split_error(attempt["error"])[0],
    )


def _duration(seconds: float | None) -> str:
    return _NOTHING if seconds is None else show_duration(seconds)


def _instant(instant: datetime | None) -> str:
    return _NOTHING if instant is None else show_instant(instant)


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
