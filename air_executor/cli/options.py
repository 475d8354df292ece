"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from air_executor.config import find_base_path


def _found(_: click.Context, __: click.Parameter, value: str | None) -> Path:
    return find_base_path(value)


base_path_option = click.option(
    "--base-path",
    metavar="DIR",
    callback=_found,
    help="Directory that holds jobs and manager. "
    "Default: $AIR_EXECUTOR_BASE_PATH, else [air_executor] base_path of airflow.cfg, else .air-executor.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
