"""What happens to a job: the records of its journal. Applying them in order rebuilds the job exactly."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec

from air_executor.core.specs import JobOptions, TaskSpec
from air_executor.core.states import JobState, TaskStatus


class Outcome(str, Enum):
    """How an attempt ended."""

    COMPLETED = "completed"
    """The runner exited with 0."""
    FAILED = "failed"
    """The runner exited with another code or by a signal that we did not send."""
    TIMED_OUT = "timed_out"
    """It took longer than `timeout_s` and was ended."""
    OUT_OF_MEMORY = "out_of_memory"
    """It used more than `memory_limit_bytes`, or the kernel ended it for want of memory."""
    LOST = "lost"
    """It started, nothing of it lives, and nobody saw how it ended."""
    NOT_STARTED = "not_started"
    """No runner could be started: nothing of the task has run."""
    CANCELLED = "cancelled"
    """It was ended because somebody cancelled its job, or because the job failed fast."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """Base of all events; `at` is an aware instant in UTC."""

    at: datetime


class JobAccepted(Event, frozen=True, tag="accepted"):
    """The first record: the job as the manager read it from the files."""

    id: str
    name: str
    created_at: datetime
    options: JobOptions
    labels: dict[str, str] = {}
    is_snapshot: bool = False
    """The journal goes on with one that had grown long: it begins with what had come of that."""


class TasksQueued(Event, frozen=True, tag="queued"):
    """Tasks joined the job, at its submission or while it ran."""

    tasks: tuple[TaskSpec, ...]


class TaskRestored(Event, frozen=True, tag="restored"):
    """A task is in a state that no other event here led to: from tasks.json after a `git checkout`, or in a compacted journal."""

    task: str
    status: TaskStatus
    attempt: int = 0
    failures: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    killed: tuple[str, ...] = ()
    retry_at: datetime | None = None


class TaskLaunched(Event, frozen=True, tag="launched"):
    """An attempt is about to be started: recorded before the fork server is told."""

    task: str
    attempt: int


class LaunchVoided(Event, frozen=True, tag="voided"):
    """The attempt never started and never will, because the manager claimed it itself; it costs no retry."""

    task: str
    attempt: int


class TaskEnded(Event, frozen=True, tag="ended"):
    """An attempt ended; `retry_at` is set if another follows."""

    task: str
    attempt: int
    outcome: Outcome
    started_at: datetime | None = None
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    killed: tuple[str, ...] = ()
    retry_at: datetime | None = None


class TasksOrphaned(Event, frozen=True, tag="orphaned"):
    """Tasks depend on one that nobody has queued, and nothing runs any more that could: they fail."""

    tasks: tuple[str, ...]


class TasksReset(Event, frozen=True, tag="reset"):
    """Somebody wants tasks that ended without completing to run again; a job that was over goes on."""

    tasks: tuple[str, ...]


class JobCancelled(Event, frozen=True, tag="cancelled"):
    """Somebody wants the job to end, or it has to: nothing of it may start any more and what runs is ended."""

    reason: str = ""
    is_failure: bool = False
    """The job ends as failed, because its files became unusable."""


class JobClosed(Event, frozen=True, tag="closed"):
    """An open job waits for no more tasks."""


class JobFinished(Event, frozen=True, tag="finished"):
    """The job reached a terminal state; nothing follows."""

    state: JobState
    error: str | None = None


class ViewWritten(Event, frozen=True, tag="view"):
    """A view is about to be replaced by the file of this identity: who finds another one there finds a stranger's."""

    inode: int
    mtime_ns: int


AnyEvent = (
    JobAccepted
    | TasksQueued
    | TaskRestored
    | TaskLaunched
    | LaunchVoided
    | TaskEnded
    | TasksOrphaned
    | TasksReset
    | JobCancelled
    | JobClosed
    | JobFinished
    | ViewWritten
)
