"""A task in memory: its spec, and what is so about it. `Job` alone changes it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from air_executor.core.events import Outcome
from air_executor.core.specs import TaskSpec
from air_executor.core.states import TaskStatus


class Task(msgspec.Struct, kw_only=True, gc=False):
    """One task and what is so about it. Instants are aware and in UTC."""

    spec: TaskSpec
    order: int
    """Position in the job; the view keeps this order."""
    created_at: datetime
    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    """Number of the newest attempt; 0 before the first."""
    failures: int = 0
    """Attempts that failed; those that never started do not count."""
    unmet: int = 0
    """Dependencies that have not completed."""
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
    """When the next attempt may start, while the task waits for it."""

    @property
    def is_ready(self) -> bool:
        """Claim that it could start now, slots and its job permitting."""
        return self.status is TaskStatus.PENDING and self.unmet == 0 and self.retry_at is None

    @property
    def will_never_complete(self) -> bool:
        """Claim that it is over and did not complete, so that its dependants wait in vain."""
        return self.status.is_terminal and self.status is not TaskStatus.COMPLETED


TASK_STATE_FIELDS = (
    "attempt",
    "failures",
    "started_at",
    "completed_at",
    "error",
    "outcome",
    "exit_code",
    "signal",
    "cpu_s",
    "peak_memory_bytes",
    "killed",
    "retry_at",
)
"""What a task is beside its spec and status; fields of `TaskRestored` too."""
