"""For code that runs inside a task: queue more tasks into its own job, leave a result, read those of others.

Which job and task that is, the environment tells; no set-up is needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from air_executor.client import AirExecutorClient
from air_executor.core.specs import TaskSpec
from air_executor.errors import InvalidJobError, NotInsideTaskError
from air_executor.store.files import create_file, temporary_name
from air_executor.store.records import SubmittedTask, spec_of


def queue_tasks(tasks: Iterable[TaskSpec | Mapping[str, Any]]) -> list[str]:
    """Queue tasks into the job of the running task, and return their ids; when this returns they are on disk.

    A task without an id gets one from the running task's id and its own command, so that a retried task which queues the same
    again adds nothing.

    :param tasks: specs, or dictionaries with their fields; only `command` is needed.
    :raises NotInsideTaskError: no task runs this.
    :raises InvalidJobError: a task is not valid, or its id is that of another command.
    """
    parent = _variable("AIR_EXECUTOR_TASK")
    specs = _with_ids(parent, [_as_submitted(task) for task in tasks])
    if specs:
        _client().queue(_variable("AIR_EXECUTOR_JOB"), specs)
    return [spec.id for spec in specs]


def set_result(value: Any) -> None:
    """Leave a result for dependants and people; the last call counts. It has to fit into JSON and a MiB.

    :raises NotInsideTaskError: no task runs this.
    """
    path = Path(_variable("AIR_EXECUTOR_RESULT_FILE"))
    aside = path.with_name(temporary_name(f".{path.name}"))
    create_file(aside, msgspec.json.encode(value), durable=False)
    # Whole or not at all, whatever kills the task.
    aside.replace(path)


def read_result(task_id: str) -> Any:
    """Return the result of another task of the same job; None if it left none.

    :raises NotInsideTaskError: no task runs this.
    :raises JobNotFoundError: the job has no such task.
    """
    return _client().result(_variable("AIR_EXECUTOR_JOB"), task_id)


def _client() -> AirExecutorClient:
    return AirExecutorClient(_variable("AIR_EXECUTOR_BASE_PATH"))


def _variable(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise NotInsideTaskError(f"${name} is not set: this works only in a task that Air-Executor runs") from None


def _as_submitted(task: TaskSpec | Mapping[str, Any]) -> SubmittedTask:
    fields = msgspec.structs.asdict(task) if isinstance(task, TaskSpec) else dict(task)
    unknown = fields.keys() - set(SubmittedTask.__struct_fields__)
    if unknown:
        raise InvalidJobError(f"a task has an unknown field {sorted(unknown)[0]!r}")
    try:
        return msgspec.convert(fields, SubmittedTask)
    except msgspec.ValidationError as error:
        raise InvalidJobError(f"a task is not valid: {error}") from error


def _with_ids(parent: str, tasks: list[SubmittedTask]) -> list[TaskSpec]:
    seen: dict[str, int] = {}
    specs: list[TaskSpec] = []
    for task in tasks:
        task_id = task.id
        if not task_id:
            words = "\0".join((task.command, *task.args)).encode("utf-8", "surrogatepass")
            task_id = f"{parent[:150]}.{hashlib.sha256(words).hexdigest()[:12]}"
            seen[task_id] = seen.get(task_id, 0) + 1
            if seen[task_id] > 1:
                # The same command twice in one call is meant twice.
                task_id = f"{task_id}.{seen[task_id]}"
        specs.append(spec_of(msgspec.structs.replace(task, id=task_id), 0))
    return specs
