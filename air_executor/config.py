"""Where the base path, and the address of the history, come from when nobody names them."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

BASE_PATH_VARIABLE = "AIR_EXECUTOR_BASE_PATH"
AIRFLOW_VARIABLE = "AIRFLOW__AIR_EXECUTOR__BASE_PATH"
DEFAULT_BASE_PATH = ".air-executor"
HISTORY_VARIABLE = "AIR_EXECUTOR_HISTORY_URL"
HISTORY_AIRFLOW_VARIABLE = "AIRFLOW__AIR_EXECUTOR__HISTORY_URL"
ATTEMPT_VARIABLES = frozenset(
    {
        "AIR_EXECUTOR_ATTEMPT",
        "AIR_EXECUTOR_ATTEMPT_MARK",
        "AIR_EXECUTOR_ERROR_FILE",
        "AIR_EXECUTOR_JOB",
        "AIR_EXECUTOR_RESULT_FILE",
        "AIR_EXECUTOR_TASK",
    }
)
"""What each attempt gets of its own: of no meaning, or of a wrong one, for whatever else is started."""
SECRET_VARIABLES = frozenset({HISTORY_VARIABLE, HISTORY_AIRFLOW_VARIABLE})
"""May hold a password, and are for no task."""


def find_base_path(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the base path in force, absolute.

    In this order: `given`; `$AIR_EXECUTOR_BASE_PATH`; `[air_executor] base_path` of Airflow, as environment variable or in
    airflow.cfg; `.air-executor` in the working directory. Airflow itself is not imported.
    """
    named = (
        given
        or os.environ.get(BASE_PATH_VARIABLE)
        or os.environ.get(AIRFLOW_VARIABLE)
        or _from_airflow_cfg("base_path")
        or DEFAULT_BASE_PATH
    )
    return Path(os.path.abspath(os.path.expanduser(os.path.expandvars(named))))


def history_url_of_airflow() -> str | None:
    """Return `[air_executor] history_url` of Airflow, from the environment or airflow.cfg; None if it is not set there."""
    return os.environ.get(HISTORY_AIRFLOW_VARIABLE) or _from_airflow_cfg("history_url")


def _from_airflow_cfg(option: str) -> str | None:
    home = Path(os.path.expanduser(os.environ.get("AIRFLOW_HOME", "~/airflow")))
    path = Path(os.environ.get("AIRFLOW_CONFIG", home / "airflow.cfg"))
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
        value = parser.get("air_executor", option, fallback="").strip()
    except (configparser.Error, OSError, UnicodeDecodeError):
        return None
    return value.replace("{AIRFLOW_HOME}", str(home)) or None
