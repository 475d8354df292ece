"""What Air-Executor tells Airflow about itself. Read on every `airflow` command: imports no Airflow."""

from __future__ import annotations

from typing import Any

from air_executor.airflow.options import OPTION_DESCRIPTIONS, SECTION

_OPTIONS_ADDED_IN = "0.1.0"
_INTEGRATION = "Air Executor"
_CONNECTION_TYPE: dict[str, Any] = {
    "connection-type": "air_executor",
    "hook-class-name": "air_executor.airflow.hook.AirExecutorHook",
    "hook-name": "Air-Executor",
    "conn-fields": {
        "base_path": {
            "label": "Base path",
            "schema": {"type": ["string", "null"]},
            "description": "Directory that holds the jobs; empty: the one that `[air_executor] base_path` names.",
        },
        "start_manager": {
            "label": "Start a manager",
            "schema": {"type": ["boolean", "null"], "default": False},
            "description": "Start a manager on the base path when a job is submitted and none runs.",
        },
        "slots": {
            "label": "Slots",
            "schema": {"type": ["integer", "null"], "minimum": 1},
            "description": "How many tasks a manager that is started here runs at once.",
        },
    },
    "ui-field-behaviour": {
        "hidden-fields": ["host", "schema", "login", "password", "port", "extra"],
        "relabeling": {},
        "placeholders": {},
    },
}
_MODULES = {"operators": ("operators", "chart_operator"), "sensors": ("sensors",), "triggers": ("triggers",)}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; the entry point `apache_airflow_provider` names this function."""
    return {
        "package-name": "air-executor",
        "name": "Air Executor",
        "description": "Runs every task instance in a fresh process of its own, which is gone when the task is done.",
        "executors": ["air_executor.AirExecutorExecutor"],
        "cli": ["air_executor.airflow.cli.get_commands"],
        "connection-types": [_CONNECTION_TYPE],
        "task-decorators": [
            {"name": "air_executor", "class-name": "air_executor.airflow.decorators.air_executor_task"}
        ],
        "extra-links": ["air_executor.airflow.links.AirExecutorJobLink"],
        **{
            kind: [
                {
                    "integration-name": _INTEGRATION,
                    "python-modules": [f"air_executor.airflow.{module}" for module in modules],
                }
            ]
            for kind, modules in _MODULES.items()
        },
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": ["air_executor.airflow.hook"]}],
        "integrations": [{"integration-name": _INTEGRATION}],
        "config": {
            SECTION: {
                "description": "How Air-Executor runs tasks; only read where `[core] executor` names it.",
                "options": {
                    option.name: {
                        "description": option.description + "\n",
                        "version_added": _OPTIONS_ADDED_IN,
                        "type": option.type,
                        "example": option.example,
                        "default": option.default,
                        **({"sensitive": True} if option.is_sensitive else {}),
                    }
                    for option in OPTION_DESCRIPTIONS
                },
            }
        },
    }
