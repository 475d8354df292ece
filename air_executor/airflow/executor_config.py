"""What a DAG says to this executor: `executor_config={"air_executor": {...}}` of a task, or of all by `default_args`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from air_executor.errors import ConfigurationError

TEMPLATE_VARIABLE = "AIR_EXECUTOR_DAG_TEMPLATE"
"""Environment variable of a task whose DAG asks for a template (1) or wants none (0), whatever the option says."""

_SECTION = "air_executor"


@dataclass(frozen=True)
class ExecutorConfig:
    """The part of `executor_config` that is for this executor."""

    dag_template: bool | None = None
    """None: as the option says."""

    def variables(self) -> dict[str, str]:
        """Return the environment variables that carry it to the warm parent."""
        return {} if self.dag_template is None else {TEMPLATE_VARIABLE: str(int(self.dag_template))}


def read_executor_config(workload: Any) -> ExecutorConfig:
    """Return what the task of a workload says.

    :raises ConfigurationError: names what cannot be understood, and the remedy.
    """
    config = getattr(getattr(workload, "ti", None), "executor_config", None)
    own = config.get(_SECTION) if isinstance(config, dict) else None
    if own is None:
        return ExecutorConfig()
    where = f"executor_config[{_SECTION!r}]"
    if not isinstance(own, dict):
        raise ConfigurationError(f'{where} is {type(own).__name__}: use a dictionary such as {{"dag_template": True}}')
    unknown = [str(name) for name in own if name != "dag_template"]
    if unknown:
        raise ConfigurationError(f"{where} knows no {unknown[0][:100]!r}: it may hold dag_template")
    asked = own.get("dag_template")
    if asked is not None and not isinstance(asked, bool):
        raise ConfigurationError(f"{where}['dag_template'] is {str(asked)[:100]!r}: use True or False")
    return ExecutorConfig(asked)
