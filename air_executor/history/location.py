"""Where the history lies: an address that may hold a password, so it comes from files and variables, never from a command line."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from air_executor.config import HISTORY_VARIABLE, history_url_of_airflow
from air_executor.errors import AirExecutorError, HistoryNotInstalledError
from air_executor.store.files import decode_json, read_bytes
from air_executor.store.root import Root


def find_history_url(root: Root) -> str | None:
    """Return the SQLAlchemy URL of the history of a root; None means the SQLite file in the root.

    In this order: `$AIR_EXECUTOR_HISTORY_URL`; `history_url` of settings.json in the root; `[air_executor] history_url` of Airflow.

    :raises DamagedFileError: settings.json cannot be read.
    """
    return os.environ.get(HISTORY_VARIABLE) or _from_settings(root) or history_url_of_airflow()


def need_packages() -> None:
    """See that what the database needs is installed: it comes with an extra.

    :raises HistoryNotInstalledError: it is not.
    """
    if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
        raise HistoryNotInstalledError


def wants_history(root: Root) -> bool:
    """Claim that settings.json of the root, or what an earlier manager left, asks for a history."""
    try:
        return bool(_settings(root).get("history")) or root.history.is_dir()
    except AirExecutorError:
        return root.history.is_dir()


def _from_settings(root: Root) -> str | None:
    value = _settings(root).get("history_url")
    return value if isinstance(value, str) and value else None


def _settings(root: Root) -> dict[str, Any]:
    path = root.path / "settings.json"
    try:
        return decode_json(read_bytes(path)[0], dict[str, Any], path)
    except FileNotFoundError:
        return {}
