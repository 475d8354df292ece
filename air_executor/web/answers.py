"""What the HTTP interface answers: a contract with the page in Airflow's web UI and with other programs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from air_executor.client import JobView, TaskView
from air_executor.core.progress import Progress
from air_executor.core.states import JobState, TaskStatus

# Labels are for people, but this one is where Airflow's log lies on this machine.
_HIDDEN_LABELS = frozenset({"log_path"})

HIDDEN_FIELDS = frozenset({"env", "cwd", "workload"})
"""Of tasks.json: the environment and paths of this machine are not for those who only look."""


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A job and how far it is; the counts are of tasks."""

    name: str
    state: JobState
    created_at: datetime
    updated_at: datetime
    error: str | None
    labels: dict[str, str]
    total_tasks: int
    completed: int
    running: int
    failed: int
    pending: int
    cancelled: int
    skipped: int
    percent: float
    """Ended tasks of 100, rounded down to a tenth."""
    tasks_per_s: float | None
    """Ends per second over the last seconds that this server saw; null while too little is known."""
    time_left_s: float | None
    """What the tasks known now take at that rate; null while too little is known or nothing is left."""


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the jobs that match, the newest change first."""

    jobs: list[JobSummary]
    total: int
    """How many match."""
    counts: dict[str, int]
    """How many there are by state if `state` were left out."""


class JobProgress(Progress, frozen=True, kw_only=True):
    """How far a job is, and its tasks."""

    error: str | None
    tasks: list[TaskView] | msgspec.UnsetType = msgspec.UNSET
    """The elements of tasks.json; left out with `tasks=false`."""


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the tasks that match."""

    tasks: list[TaskView]
    total: int
    """How many match."""
    counts: dict[str, int]
    """How many there are by status if `status` were left out."""


class TaskDetails(TaskView, frozen=True, kw_only=True, omit_defaults=True):
    """An element of tasks.json and what is to be said of it."""

    explanation: str
    """Why it has not run, or how it ended; a line a reason, the strongest first."""


class TaskSpan(msgspec.Struct, frozen=True, kw_only=True):
    """When the newest attempt of a task began and ended."""

    id: str
    status: TaskStatus
    attempt: int
    started_at: datetime
    completed_at: datetime | None


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks that started, in order of start; beyond the limit evenly thinned."""

    tasks: list[TaskSpan]
    total: int
    """How many started."""


class ManagerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The manager; all but `running` is null if none runs, or if it has not told yet."""

    running: bool
    pid: int | None = None
    started_at: datetime | None = None
    slots: int | None = None
    """How many attempts run at once of an executor's jobs, and how many of all others."""
    attempts: int | None = None
    """How many run now."""
    attempts_announced: int | None = None
    """Those of jobs that an executor submitted."""
    jobs: int | None = None
    """How many are not over."""
    is_draining: bool | None = None


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no other answer."""

    detail: str
    """One line: what, where, remedy."""


def summarise(job: JobView, progress: Progress) -> JobSummary:
    """Return the summary of a job."""
    return JobSummary(
        name=job.name,
        created_at=job.created_at,
        updated_at=job.updated_at,
        error=job.error,
        labels=show_labels(job.labels),
        **_fields(progress, but=("job_name",)),
    )


def show_progress(job: JobView, progress: Progress) -> JobProgress:
    """Return the progress of a job without its tasks."""
    return JobProgress(error=job.error, **_fields(progress))


def show_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that are for people."""
    return {name: value for name, value in labels.items() if name not in _HIDDEN_LABELS}


def show_task(task: TaskView) -> TaskView:
    """Return a task without its environment and without paths of this machine."""
    if task.env or task.cwd or task.workload:
        return msgspec.structs.replace(task, env={}, cwd=None, workload=None)
    return task


def _fields(progress: Progress, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(progress).items() if name not in but}
