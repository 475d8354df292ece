"""The course of a job, from the instants that its tasks bear: exact, however seldom somebody looked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from air_executor.core.states import TaskStatus

T = TypeVar("T")

_ENDED_UNRUN = (TaskStatus.CANCELLED, TaskStatus.SKIPPED)


class TimedTask(Protocol):
    """What is read of a task."""

    @property
    def status(self) -> TaskStatus:
        """Its status."""

    @property
    def created_at(self) -> datetime | None:
        """When it was queued; a task of which nobody knows is left out."""

    @property
    def started_at(self) -> datetime | None:
        """When its newest attempt started."""

    @property
    def completed_at(self) -> datetime | None:
        """When it ended, however."""


class Moment(NamedTuple):
    """What was so from an instant on; numbers of tasks."""

    at: datetime
    total: int
    completed: int
    failed: int
    unrun: int
    """Cancelled and skipped."""
    running: int

    @property
    def pending(self) -> int:
        """Return how many had not started, or waited for another attempt."""
        return self.total - self.completed - self.failed - self.unrun - self.running


def trace(tasks: Iterable[TimedTask], until: datetime | None = None) -> list[Moment]:
    """Return every change in order of time; the last moment repeats what is so at `until`.

    A task that ran several times counts as running from its last start. Without tasks there are no moments.
    """
    changes: list[tuple[datetime, str, int]] = []
    for task in tasks:
        if task.created_at is None:
            continue
        changes.append((task.created_at, "total", 1))
        end = task.completed_at if task.status.is_terminal else None
        if task.started_at is not None and (end is not None or task.status is TaskStatus.RUNNING):
            changes.append((task.started_at, "running", 1))
            if end is not None:
                # Clocks of two processes may disagree by a little: nothing ends before it starts.
                changes.append((max(end, task.started_at), "running", -1))
        if end is not None:
            kind = "unrun" if task.status in _ENDED_UNRUN else task.status.value
            changes.append((end, kind, 1))
    moments: list[Moment] = []
    now: Counter[str] = Counter()
    for at, kind, by in sorted(changes):
        now[kind] += by
        moment = Moment(at, now["total"], now["completed"], now["failed"], now["unrun"], now["running"])
        if moments and moments[-1].at == at:
            moments[-1] = moment
        else:
            moments.append(moment)
    if moments and until is not None and until > moments[-1].at:
        moments.append(moments[-1]._replace(at=until))
    return moments


def thin(moments: list[Moment], most: int) -> list[Moment]:
    """Return few enough moments to draw, in equal parts of the time: of each part the last, with the most that ran in it.

    The first and the last one stay, so beginning, end and sums are exact.
    """
    if len(moments) <= most:
        return moments
    begin, end = moments[0].at, moments[-1].at
    part_s = (end - begin).total_seconds() / max(most - 2, 1) or 1.0
    kept = [moments[0]]
    newest = -1
    for moment in moments[1:-1]:
        part = int((moment.at - begin).total_seconds() / part_s)
        if part == newest:
            kept[-1] = moment._replace(running=max(moment.running, kept[-1].running))
        else:
            kept.append(moment)
            newest = part
    return [*kept, moments[-1]]


def pick_evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` of the items, in equal steps, the first and the last among them.

    :param most: at least 2.
    """
    if len(items) <= most:
        return list(items)
    last = len(items) - 1
    return [items[position * last // (most - 1)] for position in range(most)]
