"""Judges the history against the journals that it was made from, by code of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from air_executor.core.events import Event, JobAccepted, JobFinished, LaunchVoided, TaskEnded, TaskLaunched
from air_executor.history import tables
from air_executor.history.database import Database
from air_executor.store.backlog import kept_journals
from air_executor.store.intake import rebuild
from air_executor.store.root import Root
from tests.support.waiting import wait_until

Row = dict[str, Any]


def read_table(database: Database, table: sa.Table) -> list[Row]:
    """Return all rows of a table, in the order of their keys."""
    with database.begin() as connection:
        found = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
        return [dict(row) for row in found.mappings()]


def wait_until_recorded(root: Root, timeout_s: float = 120) -> None:
    """Wait until no journal waits, as it is once all jobs are over and recorded."""
    wait_until(lambda: kept_journals(root), lambda kept: not kept, timeout_s=timeout_s, what="all journals recorded")


def check_run(database: Database, events: Sequence[Event]) -> Row:
    """See that one journal, of a job that is over, is in the database: whole, once, and as it says. Returns the run's row."""
    accepted = events[0]
    assert isinstance(accepted, JobAccepted)
    runs = [row for row in read_table(database, tables.jobs) if row["job_id"] == accepted.id]
    assert len(runs) == 1, [(row["job_name"], row["generation"], row["state"]) for row in runs]
    [run] = runs
    job = rebuild(events)
    assert run["state"] == job.state.value
    assert run["error"] == job.error
    assert (run["accepted_at"], run["created_at"]) == (accepted.at, accepted.created_at)
    assert run["ended_at"] == [event.at for event in events if isinstance(event, JobFinished)][-1]
    assert run["total_tasks"] == len(job.tasks)
    statuses = Counter(task.status.value for task in job.tasks.values())
    for status in ("pending", "running", "completed", "failed", "cancelled", "skipped"):
        assert run[f"{status}_tasks"] == statuses[status], status
    _check_tasks(database, run, job)
    _check_attempts(database, run, events)
    points = [row for row in read_table(database, tables.progress) if row["run_id"] == run["run_id"]]
    assert 1 <= len(points) <= 240
    assert points == sorted(points, key=lambda row: row["timestamp"])
    for name in ("total_tasks", "completed_tasks", "failed_tasks", "running_tasks"):
        assert points[-1][name] == run[name]
    return run


def _check_tasks(database: Database, run: Row, job: Any) -> None:
    recorded = {
        row["task_id"]: (row["status"], row["attempts"], row["position"], row["error"])
        for row in read_table(database, tables.tasks)
        if row["run_id"] == run["run_id"]
    }
    assert recorded == {
        name: (task.status.value, task.attempt, task.order, task.error) for name, task in job.tasks.items()
    }


def _check_attempts(database: Database, run: Row, events: Sequence[Event]) -> None:
    expected: dict[tuple[str, int], tuple[Any, ...]] = {}
    for event in events:
        if isinstance(event, TaskLaunched):
            expected[event.task, event.attempt] = (event.at, None, None, None, None)
        elif isinstance(event, LaunchVoided):
            launched_at = expected[event.task, event.attempt][0]
            expected[event.task, event.attempt] = (launched_at, None, event.at, "voided", None)
        elif isinstance(event, TaskEnded):
            launched_at = expected[event.task, event.attempt][0]
            outcome = event.outcome.value
            expected[event.task, event.attempt] = (launched_at, event.started_at, event.at, outcome, event.exit_code)
    recorded = {
        (row["task_id"], row["attempt"]): (
            row["launched_at"],
            row["started_at"],
            row["ended_at"],
            row["outcome"],
            row["exit_code"],
        )
        for row in read_table(database, tables.attempts)
        if row["run_id"] == run["run_id"]
    }
    assert recorded == expected
