"""Which jobs and tasks a request asks for, in which order, and which page of them. Pure."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import Enum

from air_executor.client import JobView, TaskView
from air_executor.core.states import JobState, TaskStatus
from air_executor.core.timeline import pick_evenly
from air_executor.errors import InvalidNameError
from air_executor.web.answers import TaskSpan, Timeline, show_labels


class TaskOrder(str, Enum):
    """What tasks are sorted by."""

    POSITION = "position"
    """As they stand in tasks.json."""
    STARTED = "started"
    """Start of the newest attempt; those that did not start come last."""
    DURATION = "duration"
    """How long the newest attempt took or has taken; those that did not start come last."""
    STATUS = "status"
    """What needs attention first: failed, running, cancelled, skipped, pending, completed."""


_BY_ATTENTION = {
    status: rank
    for rank, status in enumerate(
        (
            TaskStatus.FAILED,
            TaskStatus.RUNNING,
            TaskStatus.CANCELLED,
            TaskStatus.SKIPPED,
            TaskStatus.PENDING,
            TaskStatus.COMPLETED,
        )
    )
}


def match_jobs(jobs: Iterable[JobView], name: str | None, q: str | None, labels: Sequence[str]) -> list[JobView]:
    """Return the jobs that match all that is given.

    :param name: a glob.
    :param q: part of the name or of a label's value; letters may be small or capital.
    :param labels: `KEY:VALUE`, all of which a job must have.
    :raises InvalidNameError: a label has no `:`.
    """
    wanted = [_split_label(label) for label in labels]
    needle = q.casefold() if q else ""
    return [
        job
        for job in jobs
        if (not name or fnmatch.fnmatchcase(job.name, name))
        and all(job.labels.get(key) == value for key, value in wanted)
        and (not needle or _job_holds(job, needle))
    ]


def match_tasks(tasks: Sequence[TaskView], q: str | None) -> Sequence[TaskView]:
    """Return the tasks that have `q` in id, command, arguments or error; letters may be small or capital."""
    if not q:
        return tasks
    needle = q.casefold()
    return [
        task for task in tasks if needle in "\n".join((task.id, task.command, *task.args, task.error or "")).casefold()
    ]


def sort_tasks(tasks: Sequence[TaskView], order: TaskOrder, now: datetime, *, descending: bool) -> Sequence[TaskView]:
    """Return the tasks in an order; tasks that are equal in it stay as they stand in tasks.json."""
    if order is TaskOrder.POSITION:
        return tasks[::-1] if descending else tasks
    if order is TaskOrder.STATUS:
        return sorted(tasks, key=lambda task: _BY_ATTENTION[task.status], reverse=descending)
    key: Callable[[TaskView], float] = _started if order is TaskOrder.STARTED else lambda task: _took_s(task, now)
    started = sorted((task for task in tasks if task.started_at is not None), key=key, reverse=descending)
    return [*started, *(task for task in tasks if task.started_at is None)]


def count_states(jobs: Iterable[JobView]) -> dict[str, int]:
    """Return the number of jobs by state, of every state."""
    counts = Counter(job.state for job in jobs)
    return {state.value: counts[state] for state in JobState}


def count_statuses(tasks: Iterable[TaskView]) -> dict[str, int]:
    """Return the number of tasks by status, of every status."""
    counts = Counter(task.status for task in tasks)
    return {status.value: counts[status] for status in TaskStatus}


def make_timeline(tasks: Iterable[TaskView], limit: int) -> Timeline:
    """Return the tasks that started, in order of start; of more than `limit` the first, the last, and evenly between.

    :param limit: at least 2.
    """
    spans = [
        TaskSpan(
            id=task.id,
            status=task.status,
            attempt=task.attempt,
            started_at=task.started_at,
            completed_at=task.completed_at,
        )
        for task in tasks
        if task.started_at is not None
    ]
    spans.sort(key=lambda span: span.started_at)
    return Timeline(tasks=pick_evenly(spans, limit), total=len(spans))


def _split_label(label: str) -> tuple[str, str]:
    key, colon, value = label.partition(":")
    if not colon:
        raise InvalidNameError(f"label {label[:60]!r} is not allowed: write KEY:VALUE, as `label=dag_id:nightly`")
    return key, value


def _job_holds(job: JobView, needle: str) -> bool:
    return needle in job.name.casefold() or any(
        needle in value.casefold() for value in show_labels(job.labels).values()
    )


def _started(task: TaskView) -> float:
    return task.started_at.timestamp() if task.started_at is not None else 0.0


def _took_s(task: TaskView, now: datetime) -> float:
    return (task.completed_at or now).timestamp() - _started(task)
