"""Jobs whose files a test writes in the manager's place: for what reads jobs, and runs none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from air_executor.store.records import StateRecord, TaskRecord
from air_executor.store.views import encode_state, encode_tasks
from tests.support.jobs import at


def write_job(
    client: AirExecutorClient,
    name: str,
    state: JobState = JobState.WORKING,
    tasks: Mapping[str, TaskStatus] | Sequence[TaskRecord] = {"task-1": TaskStatus.RUNNING},
    *,
    seconds: float = 10,
    **fields: Any,
) -> Path:
    """Write the views of a job as they are `seconds` after the beginning of the test's time; return its directory."""
    records = [written_task(name, *each) for each in tasks.items()] if isinstance(tasks, Mapping) else list(tasks)
    counts = Counter(record.status.value for record in records)
    directory = client.base_path / "jobs" / name
    directory.mkdir(exist_ok=True)
    view = StateRecord(
        id=f"id-of-{name}",
        name=name,
        state=state,
        created_at=at(0),
        updated_at=at(seconds),
        tasks={"total": len(records), **{status.value: counts[status.value] for status in TaskStatus}},
        **fields,
    )
    # In the manager's order: whoever reads a state finds the tasks of that state.
    _replace(directory / "tasks.json", b"".join(encode_tasks(records)))
    _replace(directory / "state.json", encode_state(view))
    return directory


def written_task(job_name: str, task_id: str, status: TaskStatus = TaskStatus.PENDING, **fields: Any) -> TaskRecord:
    """Return an element of tasks.json."""
    values: dict[str, Any] = {
        "command": "true",
        "args": (),
        "dependencies": (),
        "created_at": at(0),
        "started_at": None if status in (TaskStatus.PENDING, TaskStatus.SKIPPED) else at(1),
        "completed_at": at(2) if status.is_terminal else None,
        "error": "exit code 3" if status is TaskStatus.FAILED else None,
        "attempt": 0 if status in (TaskStatus.PENDING, TaskStatus.SKIPPED) else 1,
        **fields,
    }
    return TaskRecord(id=task_id, job_name=job_name, status=status, **values)


def write_result(client: AirExecutorClient, name: str, task_id: str, value: Any, attempt: int = 1) -> None:
    """Leave a result as an attempt does."""
    directory = client.job_path(name) / "results"
    directory.mkdir(exist_ok=True)
    (directory / f"{task_id}.{attempt}.json").write_bytes(msgspec.json.encode(value))


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.aside")
    aside.write_bytes(content)
    os.replace(aside, path)
