"""Air-Executor: every task in a fresh process; as an Airflow executor, or alone. Importing it imports no Airflow."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the executor when Airflow asks for `air_executor.AirExecutorExecutor`, not before."""
    if name == "AirExecutorExecutor":
        return importlib.import_module("air_executor.airflow.executor").AirExecutorExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
