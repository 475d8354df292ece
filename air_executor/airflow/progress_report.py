"""The progress report in a task's log: what it looks like, and when there is one. Pure: the caller reads files and clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

import msgspec

from air_executor.core.progress import Progress
from air_executor.core.states import TaskStatus

_LINE = "=" * 60
_SHOWN = 5
_GROWTH = 1.5
_MAX_FACTOR = 20
_MAX_ERROR = 300
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)
_DIM_STATUSES = (TaskStatus.CANCELLED, TaskStatus.SKIPPED)


class TaskGlance(msgspec.Struct, frozen=True):
    """What a report and a history need of one element of tasks.json; the rest is not even decoded."""

    id: str = "?"
    status: TaskStatus = TaskStatus.PENDING
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error: str | None = None


class ReportPace:
    """When the next report is due: only if something changed, and at intervals that grow, so that logs stay short."""

    def __init__(self, interval_s: float) -> None:
        """Begin with a report at the first look; then wait `interval_s` seconds, later up to twenty times as long."""
        self._interval_s = interval_s
        self._max_interval_s = interval_s * _MAX_FACTOR
        self._next_at = float("-inf")
        self._told: object = None

    def is_due(self, now: float, what: object) -> bool:
        """Claim that `what` is news and that the last report is long enough ago."""
        return what != self._told and now >= self._next_at

    def wait_s(self, now: float, what: object) -> float:
        """Return the seconds until a report of `what` is due; with nothing to tell, for ever."""
        return max(self._next_at - now, 0.0) if what != self._told else float("inf")

    def note(self, now: float, what: object) -> None:
        """Take note of a report of `what`."""
        if self._told is not None:
            self._interval_s = min(self._interval_s * _GROWTH, self._max_interval_s)
        self._told = what
        self._next_at = now + self._interval_s


def render_report(progress: Progress, tasks: Sequence[TaskGlance] = (), *, warning: str = "") -> str:
    """Return the report, several lines.

    :param tasks: what tasks.json says; without them the report has counts alone.
    :param warning: a line for what keeps the job from going on.
    """
    lines = ["", _LINE, "📊 Air-Executor Progress Report", _LINE]
    lines += [f"Job: {progress.job_name}", f"State: {progress.state.value}", ""]
    lines += [*_overview(progress), ""]
    if warning:
        lines += [f"⚠️ {warning}", ""]
    lines += _list_tasks(tasks)
    if progress.time_left_s is not None and progress.tasks_per_s is not None:
        lines += [
            f"📅 Estimated time remaining: ~{_estimate(progress.time_left_s)} at {_rate(progress.tasks_per_s)}",
            "",
        ]
    return "\n".join([*lines, _LINE])


def list_failed(tasks: Iterable[TaskGlance], shown: int = _SHOWN) -> list[str]:
    """Return a line for each failed task, for the first `shown` of them, and one for the others."""
    failed = [task for task in tasks if task.status is TaskStatus.FAILED]
    lines = [f"  ❌ {task.id}: {_shorten(task.error or 'no reason is known')}" for task in failed[:shown]]
    return lines + _more(len(failed), shown)


def _overview(progress: Progress) -> list[str]:
    width = max(5, len(str(progress.total_tasks)))
    rows = [
        ("Total", progress.total_tasks, ""),
        ("Completed", progress.completed, _percent(progress)),
        ("Running", progress.running, ""),
        ("Pending", progress.pending, ""),
        ("Failed", progress.failed, ""),
    ]
    rows += [
        (status.value.capitalize(), number, "")
        for status in _DIM_STATUSES
        if (number := getattr(progress, status.value))
    ]
    return ["Tasks Overview:"] + [f"  {name + ':':<11}{number:>{width}}{end}" for name, number, end in rows]


def _percent(progress: Progress) -> str:
    # Rounded down: 100 % only when all have completed.
    share = progress.completed * 1000 // progress.total_tasks / 10 if progress.total_tasks else 0.0
    return f" ({share:>5.1f}%)"


def _list_tasks(tasks: Sequence[TaskGlance]) -> list[str]:
    completed = [task for task in tasks if task.status is TaskStatus.COMPLETED]
    recent = sorted(completed, key=lambda task: task.completed_at or _LONG_AGO)[-_SHOWN:]
    running = [task for task in tasks if task.status is TaskStatus.RUNNING]
    lines: list[str] = []
    if recent:
        lines += ["Recently completed tasks:", *(f"  ✅ {task.id}" for task in recent), ""]
    if running:
        shown = [f"  🔄 {task.id}" for task in running[:_SHOWN]]
        lines += ["Currently running tasks:", *shown, *_more(len(running), _SHOWN), ""]
    if failed := list_failed(tasks):
        lines += ["⚠️ Failed tasks:", *failed, ""]
    return lines


def _more(number: int, shown: int) -> list[str]:
    return [f"  … and {number - shown} more"] if number > shown else []


def _shorten(text: str) -> str:
    line = " | ".join(part.strip() for part in text.strip().splitlines() if part.strip())
    return line if len(line) <= _MAX_ERROR else line[: _MAX_ERROR - 1] + "…"


def _estimate(seconds: float) -> str:
    """Return about how long something takes, in one unit: two would look more exact than it is."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _rate(per_s: float) -> str:
    return f"{per_s:.1f} tasks/s" if per_s >= 1 else f"{per_s * 60:.1f} tasks/min"
