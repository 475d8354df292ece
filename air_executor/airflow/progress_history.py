"""The course of a job in a bounded number of points, for XCom and charts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from air_executor.core.progress import Progress
from air_executor.core.timeline import TimedTask, pick_evenly, trace

MAX_POINTS = 200
Point = dict[str, Any]
"""timestamp (ISO 8601, UTC), and numbers of tasks: total, completed, running, failed, pending."""


class ProgressHistory:
    """Points in order of time; when they become too many, every second one goes."""

    def __init__(self, points: Sequence[Point] = ()) -> None:
        self._points = list(points)

    def note(self, at: datetime, progress: Progress) -> None:
        """Add what is so at `at`; what has not changed since the last point adds none."""
        point = _point(
            at, progress.total_tasks, progress.completed, progress.running, progress.failed, progress.pending
        )
        if self._points and _numbers(self._points[-1]) == _numbers(point):
            return
        self._points.append(point)
        if len(self._points) > MAX_POINTS:
            # The first and the newest stay.
            self._points = pick_evenly(self._points, MAX_POINTS // 2)

    def points(self) -> list[Point]:
        """Return the points."""
        return list(self._points)


def reconstruct(tasks: Iterable[TimedTask]) -> list[Point]:
    """Return the course of a job as its tasks.json tells it: exact, however seldom somebody looked.

    A task that ran several times counts as running from its last start.
    """
    points = [
        _point(moment.at, moment.total, moment.completed, moment.running, moment.failed, moment.pending)
        for moment in trace(tasks)
    ]
    return pick_evenly(points, MAX_POINTS)


def _point(at: datetime, total: int, completed: int, running: int, failed: int, pending: int) -> Point:
    return {
        "timestamp": at.astimezone(timezone.utc).isoformat(),
        "total": total,
        "completed": completed,
        "running": running,
        "failed": failed,
        "pending": pending,
    }


def _numbers(point: Point) -> tuple[Any, ...]:
    return tuple(value for name, value in point.items() if name != "timestamp")
