"""Finds the job of a task instance that a former scheduler left behind. Decides only; the executor acts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from air_executor.airflow import job_names
from air_executor.core.states import JobState

_QUEUED = "queued"


def index_names(names: Iterable[str]) -> dict[str, str]:
    """Return the newest job name by prefix."""
    newest: dict[str, str] = {}
    for name in names:
        prefix, unique = job_names.split_name(name)
        if unique and name > newest.get(prefix, ""):
            newest[prefix] = name
    return newest


def find_job_name(ti: Any, newest: Mapping[str, str]) -> str | None:
    """Return the newest job of a task instance, or None.

    The id that the database holds may be missing (a crash came between submission and commit), or be that of an
    earlier section of a task that was deferred and resumed. The prefix tells both.
    """
    prefix = job_names.make_task_prefix(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number, str(ti.id))
    return newest.get(prefix)


def is_adoptable(ti_state: Any, job_state: JobState, has_end_mark: bool) -> bool:
    """Tell whether a task instance in `ti_state` still belongs to its newest job.

    A task instance that is still queued was never started by a job that completed, so that job is of an earlier
    section. A failure whose mark is gone was reported before; it is news only for one that seems to run.
    """
    if not job_state.is_terminal:
        return True
    if str(getattr(ti_state, "value", ti_state)) != _QUEUED:
        return True
    return job_state is not JobState.COMPLETED and has_end_mark
