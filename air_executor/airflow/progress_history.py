"""The course of a job in a bounded number of points, for XCom and charts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from air_executor.airflow.progress_report import TaskGlance
from air_executor.core.progress import Progress

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
            self._points = thin(self._points, MAX_POINTS // 2)

    def points(self) -> list[Point]:
        """Return the points."""
        return list(self._points)


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` of the points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[position * last // (most - 1)] for position in range(most)]


def reconstruct(tasks: Iterable[TaskGlance]) -> list[Point]:
    """Return the course of a job as its tasks.json tells it: exact, however seldom somebody looked.

    A task that ran several times counts as running from its last start.
    """
    changes: list[tuple[datetime, Counter[str]]] = []
    for task in tasks:
        if task.created_at is not None:
            changes.append((task.created_at, Counter(total=1, pending=1)))
        if task.started_at is not None:
            changes.append((task.started_at, Counter(running=1, pending=-1)))
        if task.completed_at is not None and task.status.is_terminal:
            before = "pending" if task.started_at is None else "running"
            changes.append((task.completed_at, Counter({task.status.value: 1, before: -1})))
    points: list[Point] = []
    now: Counter[str] = Counter()
    for at, change in sorted(changes, key=lambda each: each[0]):
        now.update(change)
        point = _point(at, now["total"], now["completed"], now["running"], now["failed"], now["pending"])
        if points and points[-1]["timestamp"] == point["timestamp"]:
            points[-1] = point
        else:
            points.append(point)
    return thin(points, MAX_POINTS)


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
