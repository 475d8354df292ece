"""A job as the shortest list of events that rebuilds it, for a journal that has grown long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from air_executor.core.events import (
    Event,
    JobAccepted,
    JobCancelled,
    JobClosed,
    JobFinished,
    TaskRestored,
    TasksQueued,
    ViewWritten,
)
from air_executor.core.job import Job
from air_executor.core.states import TaskStatus
from air_executor.core.task import TASK_STATE_FIELDS

_TASKS_PER_RECORD = 1000


def snapshot(job: Job) -> Iterator[Event]:
    """Yield events which, applied to nothing, give a job that goes on exactly as this one."""
    at = job.updated_at
    yield JobAccepted(
        at=at,
        id=job.id,
        name=job.name,
        created_at=job.created_at,
        options=job.options,
        labels=job.labels,
        is_snapshot=True,
    )
    for created_at, group in groupby(job.tasks.values(), key=lambda task: task.created_at):
        # In portions: a record of very many tasks would be in memory several times while it is written.
        specs = (task.spec for task in group)
        while portion := tuple(islice(specs, _TASKS_PER_RECORD)):
            yield TasksQueued(at=created_at, tasks=portion)
    for task in job.tasks.values():
        if task.status is not TaskStatus.PENDING or task.attempt:
            state = {field: getattr(task, field) for field in TASK_STATE_FIELDS}
            yield TaskRestored(at=at, task=task.spec.id, status=task.status, **state)
    if job.options.is_open and not job.is_open:
        yield JobClosed(at=at)
    if job.cancel_reason is not None:
        yield JobCancelled(at=at, reason=job.cancel_reason, is_failure=job.is_unusable)
    for inode, mtime_ns in job.view_identities:
        yield ViewWritten(at=at, inode=inode, mtime_ns=mtime_ns)
    if job.state.is_terminal:
        yield JobFinished(at=at, state=job.state, error=job.error)
