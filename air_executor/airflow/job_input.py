"""What a DAG gives as tasks and options, made into specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from air_executor.core.specs import JobOptions, TaskSpec
from air_executor.errors import InvalidJobError


def make_specs(tasks: Any) -> tuple[TaskSpec, ...]:
    """Return the specs in what a DAG gives: dictionaries with the fields of `TaskSpec`, specs, or commands as text.

    :raises InvalidJobError: it is no list, or one of them is not valid; it is named.
    """
    from air_executor.client import task_spec

    if isinstance(tasks, str | bytes | Mapping) or not hasattr(tasks, "__iter__"):
        raise InvalidJobError(f"tasks must be a list of dictionaries, not {type(tasks).__name__}")
    specs: list[TaskSpec] = []
    for position, task in enumerate(tasks, start=1):
        if isinstance(task, TaskSpec):
            specs.append(task)
        elif isinstance(task, Mapping):
            specs.append(task_spec(task, position))
        else:
            raise InvalidJobError(f"task {position}: must be a dictionary or a TaskSpec, not {type(task).__name__}")
    return tuple(specs)


def make_options(given: Mapping[str, Any]) -> JobOptions:
    """Return the options in what a DAG gives; None means that one is not given.

    :raises InvalidJobError: one is unknown or has a value that it cannot have; it is named.
    """
    unknown = given.keys() - set(JobOptions.__struct_fields__)
    if unknown:
        raise InvalidJobError(
            f"options: there is no {sorted(unknown)[0]!r}; there are {', '.join(JobOptions.__struct_fields__)}"
        )
    try:
        return msgspec.convert({name: value for name, value in given.items() if value is not None}, JobOptions)
    except msgspec.ValidationError as error:
        raise InvalidJobError(f"options: {error}") from error
