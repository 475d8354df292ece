"""What Air-Executor tells Airflow about itself. Read on every `airflow` command: imports no Airflow."""

from __future__ import annotations

from typing import Any

from air_executor.airflow.options import OPTION_DESCRIPTIONS, SECTION

_OPTIONS_ADDED_IN = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; the entry point `apache_airflow_provider` names this function."""
    return {
        "package-name": "air-executor",
        "name": "Air Executor",
        "description": "Runs every task instance in a fresh process, forked when there is work and gone when it is done.",
        "executors": ["air_executor.AirExecutorExecutor"],
        "cli": ["air_executor.airflow.cli.get_commands"],
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
                    }
                    for option in OPTION_DESCRIPTIONS
                },
            }
        },
    }
