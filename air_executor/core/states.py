"""The states of jobs and tasks and the moves between them."""

from __future__ import annotations

from enum import Enum


class JobState(str, Enum):
    """The value of `state` in state.json."""

    WAITING = "waiting"
    """Accepted; nothing of it has run."""
    WORKING = "working"
    """At least one task has started, and not all have ended."""
    COMPLETED = "completed"
    """Every task has ended and no more failed than the job tolerates."""
    FAILED = "failed"
    """Every task has ended and too many failed, or the job's files are not valid."""
    CANCELLED = "cancelled"
    """Somebody cancelled it; nothing of it runs any more."""

    @property
    def is_terminal(self) -> bool:
        """Claim that the job never changes again."""
        return self in TERMINAL_JOB_STATES


class TaskStatus(str, Enum):
    """The value of `status` in tasks.json."""

    PENDING = "pending"
    """Waits for its dependencies, a slot, or the delay before a retry."""
    RUNNING = "running"
    """An attempt was launched and its end is not recorded."""
    COMPLETED = "completed"
    """Its runner exited with 0."""
    FAILED = "failed"
    """Its last attempt failed and no retry is left; `error` says why."""
    CANCELLED = "cancelled"
    """Ended, or never started, because its job was cancelled or failed fast."""
    SKIPPED = "skipped"
    """Never started, because a dependency did not complete."""

    @property
    def is_terminal(self) -> bool:
        """Claim that the task never runs again unless a person asks for it."""
        return self in TERMINAL_TASK_STATUSES


TERMINAL_JOB_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
TERMINAL_TASK_STATUSES = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED})

TASK_TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.SKIPPED, TaskStatus.FAILED}),
    TaskStatus.RUNNING: frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.PENDING}),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
    TaskStatus.SKIPPED: frozenset(),
}
"""Where a task may go from a status by itself. `running` to `pending` is a retry, or an attempt that never started.
Only a person's wish (`TasksReset`) leads out of a terminal status."""
