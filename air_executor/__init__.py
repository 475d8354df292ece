"""Air-Executor: every task in a fresh process; as an Airflow executor, or alone. Importing it imports no Airflow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Not the executor: for import-linter all that imports this package would then import Airflow.
    from air_executor.client import AirExecutorClient
    from air_executor.core.specs import JobOptions, JobSpec, TaskSpec
    from air_executor.inside import queue_tasks, read_result, set_result

__all__ = [
    "AirExecutorClient",
    "AirExecutorExecutor",
    "JobOptions",
    "JobSpec",
    "TaskSpec",
    "__version__",
    "queue_tasks",
    "read_result",
    "set_result",
]

__version__ = "0.1.0"

_HOMES = {
    "AirExecutorClient": "air_executor.client",
    "AirExecutorExecutor": "air_executor.airflow.executor",
    "JobOptions": "air_executor.core.specs",
    "JobSpec": "air_executor.core.specs",
    "TaskSpec": "air_executor.core.specs",
    "queue_tasks": "air_executor.inside",
    "read_result": "air_executor.inside",
    "set_result": "air_executor.inside",
}


def __getattr__(name: str) -> Any:
    """Import a public name when somebody asks for it: a fork server or a command needs few of them, and none needs Airflow."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
