"""Jobs in memory for tests of the core: short ways to make one and to let things happen to it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from air_executor.core.events import Event, JobAccepted, Outcome, TaskEnded, TaskLaunched, TasksQueued
from air_executor.core.job import Job
from air_executor.core.specs import JobOptions, TaskSpec

T0 = datetime(2025, 10, 2, 7, 30, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    """Return the instant `seconds` after the beginning of the test's time."""
    return T0 + timedelta(seconds=seconds)


def task(task_id: str, *dependencies: str, **fields: Any) -> TaskSpec:
    """Return a spec; `fields` are those of `TaskSpec`."""
    return TaskSpec(**{"command": "true", **fields}, id=task_id, dependencies=dependencies)


def accepted(name: str = "job", **options: Any) -> JobAccepted:
    """Return the first event of a job; `options` are those of `JobOptions`."""
    return JobAccepted(at=T0, id="id-1", name=name, created_at=T0, options=JobOptions(**options))


def job_of(*tasks: TaskSpec, name: str = "job", **options: Any) -> Job:
    """Return a job that has just been accepted with these tasks."""
    job = Job(accepted(name, **options))
    job.apply(TasksQueued(at=T0, tasks=tasks))
    return job


def launched(task_id: str, attempt: int = 1, seconds: float = 1) -> TaskLaunched:
    """Return the event of a launch."""
    return TaskLaunched(at=at(seconds), task=task_id, attempt=attempt)


def ended(task_id: str, outcome: Outcome = Outcome.COMPLETED, attempt: int = 1, **fields: Any) -> TaskEnded:
    """Return the event of an attempt's end; `fields` are those of `TaskEnded`."""
    error = None if outcome is Outcome.COMPLETED else f"it has {outcome.value}"
    return TaskEnded(**{"at": at(2), "error": error, **fields}, task=task_id, attempt=attempt, outcome=outcome)


def run(job: Job, task_id: str, outcome: Outcome = Outcome.COMPLETED) -> None:
    """Let the next attempt of a task start and end, with no retry."""
    number = job.tasks[task_id].attempt + 1
    job.apply(launched(task_id, number))
    job.apply(ended(task_id, outcome, number))


def statuses(job: Job) -> dict[str, str]:
    """Return the status of each task by its id."""
    return {name: each.status.value for name, each in job.tasks.items()}


def apply_all(job: Job, *events: Event) -> Job:
    """Apply events in order and return the job."""
    for event in events:
        job.apply(event)
    return job
