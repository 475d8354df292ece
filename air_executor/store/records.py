"""What stands in state.json and tasks.json: a contract with the people and programs that read and write them."""

from __future__ import annotations

import functools
from datetime import datetime, timezone

import msgspec

from air_executor.core.events import Outcome
from air_executor.core.job import Job
from air_executor.core.specs import JobOptions, TaskSpec
from air_executor.core.states import JobState, TaskStatus
from air_executor.core.task import Task

_NO_VARIABLES: dict[str, str] = {}


class StateRecord(msgspec.Struct, kw_only=True):
    """state.json."""

    id: str
    name: str
    state: JobState
    created_at: datetime
    updated_at: datetime
    error: str | None = None
    """Why the job failed or was cancelled."""
    tasks: dict[str, int] = {}
    """Number of tasks by status, and `total`."""
    options: JobOptions = JobOptions()
    labels: dict[str, str] = {}


class TaskRecord(TaskSpec, frozen=True, kw_only=True, omit_defaults=True):
    """One element of tasks.json as the engine writes it: what is so, and what was asked for where it is not the default."""

    # Declared anew without a default, so that they are always written.
    args: tuple[str, ...]
    dependencies: tuple[str, ...]
    job_name: str
    status: TaskStatus
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    error: str | None
    attempt: int = 0
    outcome: Outcome | None = None
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    killed: tuple[str, ...] = ()
    """What still ran when the task had ended and was ended with it."""
    retry_at: datetime | None = None


class SubmittedTask(TaskSpec, frozen=True, kw_only=True):
    """One element of tasks.json as others may write it: all but `command` may be left out."""

    id: str = ""
    job_name: str | None = None
    status: TaskStatus = TaskStatus.PENDING
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None
    attempt: int = 0
    outcome: Outcome | None = None
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    killed: tuple[str, ...] = ()


class SubmittedState(msgspec.Struct, kw_only=True):
    """state.json as others may write it."""

    name: str | None = None
    id: str | None = None
    state: JobState = JobState.WAITING
    created_at: datetime | None = None
    updated_at: datetime | None = None
    error: str | None = None
    options: JobOptions = JobOptions()
    labels: dict[str, str] = {}


def state_record(job: Job) -> StateRecord:
    """Return what state.json says of a job."""
    counts = {status.value: number for status, number in job.counts.items()}
    return StateRecord(
        id=job.id,
        name=job.name,
        state=job.state,
        created_at=job.created_at,
        updated_at=job.updated_at,
        error=job.error,
        tasks={"total": len(job.tasks), **counts},
        options=job.options,
        labels=job.labels,
    )


def task_record(job_name: str, task: Task) -> TaskRecord:
    """Return what tasks.json says of a task."""
    return TaskRecord(
        **{name: getattr(task.spec, name) for name in TaskSpec.__struct_fields__},
        job_name=job_name,
        status=task.status,
        created_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        error=task.error,
        attempt=task.attempt,
        outcome=task.outcome,
        exit_code=task.exit_code,
        signal=task.signal,
        cpu_s=task.cpu_s,
        peak_memory_bytes=task.peak_memory_bytes,
        killed=task.killed,
        retry_at=task.retry_at,
    )


def utc_now() -> datetime:
    """Return the instant for records."""
    return datetime.now(timezone.utc)


def as_utc(instant: datetime | None, default: datetime) -> datetime:
    """Return an aware instant in UTC: an instant without a zone is taken as UTC, none as `default`."""
    if instant is None:
        return default
    return instant.replace(tzinfo=timezone.utc) if instant.tzinfo is None else instant.astimezone(timezone.utc)


@functools.lru_cache(maxsize=256)
def _share(text: str) -> str:
    """Return the first of equal texts. Not `sys.intern`: in Python 3.12 what was interned stays for ever."""
    return text


def spec_of(submitted: SubmittedTask, position: int) -> TaskSpec:
    """Return the spec in a submitted task; one without an id is called `task-<position>`, counted from 1."""
    fields = {name: getattr(submitted, name) for name in TaskSpec.__struct_fields__}
    fields["id"] = submitted.id or f"task-{position}"
    # Jobs of very many tasks have few commands, and mostly no variables: each is in memory once.
    fields["command"] = _share(submitted.command)
    fields["env"] = submitted.env or _NO_VARIABLES
    return TaskSpec(**fields)
