"""Progress of a job over time in a bounded number of points, the same points whenever and however often they are made."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

MOST_POINTS = 240
STEP_S = 1.0


class Counts(NamedTuple):
    """Tasks of a job at one instant."""

    total_tasks: int
    completed_tasks: int
    running_tasks: int
    failed_tasks: int
    pending_tasks: int
    cancelled_tasks: int
    skipped_tasks: int


class Point(NamedTuple):
    """The last that is known of one step of time."""

    at: datetime
    counts: Counts


class ProgressCurve:
    """Keeps the last counts of each step since the beginning; steps double when there are too many.

    The last of two steps is the last of the step that they become, so it does not matter when they do.
    """

    def __init__(self, begin: datetime, step_s: float = STEP_S, points: dict[int, Point] | None = None) -> None:
        """Go on with what was kept.

        :param points: by their number, oldest first.
        """
        self._begin = begin
        self.step_s = step_s
        self.points = points or {}
        self._last = max(self.points, default=0)
        self._changed: set[int] = set()
        self._is_anew = False

    def note(self, at: datetime, counts: Counts) -> None:
        """Take note of an event. One that seems older than the last, because a clock was set back, counts as of its time."""
        number = int((at - self._begin).total_seconds() / self.step_s)
        while number >= MOST_POINTS:
            number //= 2
            self._coarsen()
        number = max(number, self._last)
        known = self.points.get(self._last)
        self.points[number] = Point(max(at, known.at) if known else at, counts)
        self._last = number
        self._changed.add(number)

    def take_changes(self) -> tuple[bool, dict[int, Point]]:
        """Return whether all kept points are void, and those that are to be kept anew."""
        is_anew, self._is_anew = self._is_anew, False
        changed = self.points if is_anew else {number: self.points[number] for number in sorted(self._changed)}
        self._changed.clear()
        return is_anew, dict(changed)

    def _coarsen(self) -> None:
        self.step_s *= 2
        self.points = {number // 2: point for number, point in self.points.items()}
        self._last //= 2
        self._changed.clear()
        self._is_anew = True
