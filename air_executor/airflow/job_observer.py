"""Looks at one job for whoever waits for it, and finds what is worth telling: to a log, to XCom, to metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from air_executor.airflow import sdk_compat
from air_executor.airflow.progress_history import ProgressHistory, reconstruct
from air_executor.airflow.progress_report import ReportPace, TaskGlance, render_report
from air_executor.core.progress import Progress, Rate, count_ended, measure_progress
from air_executor.errors import AirExecutorError, DamagedFileError, JobNotFoundError
from air_executor.store.files import decode_json

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView

DEFAULT_REPORT_INTERVAL_S = 5.0
_LOOK_S = 5.0
_PAUSE_S = 0.05
_METRICS = {
    "total_tasks": "total_tasks",
    "completed_tasks": "completed",
    "running_tasks": "running",
    "failed_tasks": "failed",
    "pending_tasks": "pending",
    "progress_percent": "percent",
}
"""Fields of `Progress` by the last part of a metric's name."""


def history_key(job_name: str) -> str:
    """Return the XCom key that holds the course of a job."""
    return f"progress_history_{job_name}"


@dataclass(frozen=True)
class News:
    """What is to be told."""

    report: str
    xcoms: Mapping[str, Any]


class JobObserver:
    """One job, looked at again and again."""

    def __init__(
        self,
        client: AirExecutorClient,
        job_name: str,
        *,
        after: datetime | None = None,
        report_interval_s: float = DEFAULT_REPORT_INTERVAL_S,
        tags: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Observe a job of `client`.

        :param after: an end that is not later than this does not count: the job was run again since.
        :param report_interval_s: seconds between the first reports.
        :param tags: of the metrics, as dag_id and task_id.
        """
        self._client = client
        self.job_name = job_name
        self._after = after
        self._pace = ReportPace(report_interval_s)
        self._tags = {**(tags or {}), "job_name": job_name}
        self._clock = clock
        self._rate = Rate()
        self._history: ProgressHistory | None = None
        self._has_manager = True
        self._next_check_at = float("-inf")

    def look(self) -> JobView:
        """Return the job as it is; reads state.json alone, and asks now and then whether a manager runs.

        :raises JobNotFoundError: there is no such job.
        :raises DamagedFileError: state.json cannot be read.
        """
        view = self._client.job(self.job_name)
        now = self._clock()
        self._rate.note(now, count_ended(view.tasks))
        if now >= self._next_check_at:
            self._next_check_at = now + _LOOK_S
            self._has_manager = self._client.manager_is_running()
        return view

    def is_over(self, view: JobView) -> bool:
        """Claim that the job is over, and not only was before it was run again."""
        return view.state.is_terminal and (self._after is None or view.updated_at > self._after)

    def has_news(self, view: JobView) -> bool:
        """Claim that something changed and that the last report is long enough ago."""
        return self._pace.is_due(self._clock(), self._content(view))

    def pause_s(self, view: JobView) -> float:
        """Return how long to wait for an event at most: events may be lost, and a report may be due before."""
        return min(_LOOK_S, max(self._pace.wait_s(self._clock(), self._content(view)), _PAUSE_S))

    def tell(self, view: JobView) -> News:
        """Return what is to be told now. Reads tasks.json, which takes milliseconds where tasks are many; reports metrics."""
        tasks = read_glances(self._client, self.job_name)
        progress = measure_progress(self.job_name, view.state, view.tasks, self._rate)
        over = self.is_over(view)
        if self._history is None or over:
            # Exact, also after a restart of the triggerer; later looks add to it.
            self._history = ProgressHistory(reconstruct(tasks))
        if not over:
            self._history.note(datetime.now(timezone.utc), progress)
        self._pace.note(self._clock(), self._content(view))
        self._report_metrics(progress)
        report = render_report(progress, tasks, warning="" if over else self._find_obstacle())
        return News(report, _xcoms(progress, self._history))

    def _content(self, view: JobView) -> object:
        return view.state, view.tasks, self._has_manager

    def _find_obstacle(self) -> str:
        if self._has_manager:
            return ""
        return f"No manager runs on {self._client.base_path}, so nothing starts: `air-executor manager start`"

    def _report_metrics(self, progress: Progress) -> None:
        for name, field in _METRICS.items():
            sdk_compat.set_task_gauge(f"air_executor.job.{name}", getattr(progress, field), self._tags)


def is_there(client: AirExecutorClient, job_name: str) -> bool:
    """Claim that there is such a job, whether it can be read now or not.

    :raises InvalidNameError: no job can have this name.
    """
    try:
        client.job(job_name)
    except JobNotFoundError:
        return False
    except (DamagedFileError, OSError):
        return True
    return True


def read_glances(client: AirExecutorClient, job_name: str) -> list[TaskGlance]:
    """Return what tasks.json says, as far as reports need it; nothing where it cannot be read now."""
    file = "tasks.json"
    try:
        return decode_json(client.read_file(job_name, file), list[TaskGlance], client.job_path(job_name) / file)
    except (AirExecutorError, OSError):
        return []


def _xcoms(progress: Progress, history: ProgressHistory) -> dict[str, Any]:
    return {
        "total_tasks": progress.total_tasks,
        "completed_tasks": progress.completed,
        "failed_tasks": progress.failed,
        "progress_percent": progress.percent,
        history_key(progress.job_name): history.points(),
    }
