"""Air-Executor: every task in a fresh process; as an Airflow executor, or alone. Importing it imports no Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from air_executor.airflow.executor import AirExecutorExecutor

__all__ = ["AirExecutorExecutor", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the executor when Airflow asks for `air_executor.AirExecutorExecutor`, not before."""
    if name == "AirExecutorExecutor":
        from air_executor.airflow.executor import AirExecutorExecutor

        return AirExecutorExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
