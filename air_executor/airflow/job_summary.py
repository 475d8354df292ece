"""What a task instance hands on of a job that is over: a summary with results, or why it failed."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from air_executor.airflow.progress_report import TaskGlance, list_failed
from air_executor.core.states import JobState
from air_executor.errors import AirExecutorError

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView

DEFAULT_MAX_RESULTS_BYTES = 64 * 1024
"""As much as an XCom of every metadata database can hold."""

_log = logging.getLogger(__name__)


def make_summary(
    client: AirExecutorClient,
    view: JobView,
    *,
    results_of: bool | Collection[str] = True,
    max_results_bytes: int = DEFAULT_MAX_RESULTS_BYTES,
) -> dict[str, Any]:
    """Return what becomes the XCom `return_value`.

    :param results_of: True for all tasks that left a result, or ids of tasks; False for none.
    :param max_results_bytes: results beyond this size, as JSON, are left out; `results_left_out` says how many.
    """
    summary: dict[str, Any] = {
        "job_name": view.name,
        "state": view.state.value,
        "counts": dict(view.tasks),
        "created_at": view.created_at.isoformat(),
        "ended_at": view.updated_at.isoformat(),
    }
    if results_of is False:
        return summary
    results: dict[str, Any] = {}
    left_out = used_bytes = 0
    for task_id, value in _results(client, view.name, None if results_of is True else set(results_of)):
        size_bytes = len(msgspec.json.encode(value)) + len(task_id)
        if used_bytes + size_bytes > max_results_bytes:
            left_out += 1
            continue
        used_bytes += size_bytes
        results[task_id] = value
    summary["results"] = results
    if left_out:
        summary["results_left_out"] = left_out
        _log.warning(
            "%d results of job %s are more than %d bytes: read them with AirExecutorHook().get_client().result(job, task)",
            left_out,
            view.name,
            max_results_bytes,
        )
    return summary


def explain_failure(view: JobView, tasks: list[TaskGlance]) -> str:
    """Return why a job is not completed, for the exception that fails the task instance."""
    if view.state is JobState.CANCELLED:
        return f"Air-Executor job {view.name} was cancelled{f': {view.error}' if view.error else ''}"
    failed, total = view.tasks.get("failed", 0), view.tasks.get("total", 0)
    reason = view.error or f"{failed} of {total} tasks failed"
    return "\n".join([f"Air-Executor job {view.name} failed: {reason}", *list_failed(tasks)])


def _results(client: AirExecutorClient, name: str, wanted: Collection[str] | None) -> Iterator[tuple[str, Any]]:
    """Find results by the files there are: most tasks leave none, and there may be very many tasks."""
    try:
        present = os.listdir(client.job_path(name) / "results")
    except FileNotFoundError:
        return
    if not any(file.endswith(".json") for file in present):
        return
    for task in client.tasks(name):
        if wanted is not None and task.id not in wanted:
            continue
        try:
            value = client.result_of(name, task)
        except (AirExecutorError, OSError) as error:
            _log.warning("the result of task %s of job %s cannot be read: %s", task.id, name, error)
            continue
        if value is not None:
            yield task.id, value
