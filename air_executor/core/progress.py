"""How far a job is: counts, rate, and an honest time left. Pure; everybody who shows progress shows this."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from air_executor.core.states import JobState, TaskStatus

_RATE_WINDOW_S = 20.0
ENDED_STATUSES = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one instant; the counts are of tasks."""

    job_name: str
    state: JobState
    total_tasks: int
    completed: int
    running: int
    failed: int
    pending: int
    cancelled: int
    skipped: int
    percent: float
    """Ended tasks of 100, rounded down to a tenth: 100 only when all have ended."""
    tasks_per_s: float | None
    """Ends per second over the last seconds; None while too little is known."""
    time_left_s: float | None
    """What the tasks known now take at that rate; None while too little is known or nothing is left."""

    @property
    def ended(self) -> int:
        """Return how many tasks have ended, however."""
        return self.completed + self.failed + self.cancelled + self.skipped


class Rate:
    """Tasks a second, over the last seconds, and what that means for the time left."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, ended: int) -> None:
        """Take a look at how many tasks have ended.

        :param now: seconds of a clock that never goes back.
        """
        if self._samples and ended < self._samples[-1][1]:
            # Tasks are run again.
            self._samples.clear()
        self._samples.append((now, ended))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()

    def per_second(self) -> float | None:
        """Return the rate; None while too little is known."""
        if len(self._samples) < 2:
            return None
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last > first and last_at > first_at else None

    def left_s(self, left: int) -> float | None:
        """Return the seconds that `left` tasks take; None while too little is known."""
        rate = self.per_second()
        return left / rate if rate else None


def count_ended(counts: Mapping[str, int]) -> int:
    """Return how many tasks have ended, given the counts by status of state.json."""
    return sum(counts.get(status.value, 0) for status in ENDED_STATUSES)


def measure_progress(job_name: str, state: JobState, counts: Mapping[str, int], rate: Rate | None = None) -> Progress:
    """Return the progress of a job.

    :param counts: number of tasks by status, and `total`, as in state.json.
    :param rate: what was noted of this job until now; None leaves rate and time left unknown.
    """
    by_status = {status.value: counts.get(status.value, 0) for status in TaskStatus}
    total, ended = counts.get("total", sum(by_status.values())), count_ended(counts)
    is_live = not state.is_terminal and rate is not None
    return Progress(
        job_name=job_name,
        state=state,
        total_tasks=total,
        **by_status,
        percent=ended * 1000 // total / 10 if total else 0.0,
        tasks_per_s=rate.per_second() if rate and is_live else None,
        time_left_s=rate.left_s(total - ended) if rate and is_live and ended < total else None,
    )
