"""What the writer of the history tells of itself in `run/history.json`, for the manager, `status` and `doctor`."""

from __future__ import annotations

import os
from datetime import datetime

import msgspec

from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes, temporary_name
from air_executor.store.root import Root


class HistoryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How recording goes."""

    at: datetime
    database: str
    """Its address, without a password; empty while it is not known."""
    error: str | None = None
    """Why nothing can be recorded."""
    dropped: int = 0
    """Journals that were given up, because too many waited for a database that cannot be reached."""


def write_history_status(root: Root, status: HistoryStatus) -> None:
    """Replace the status.

    :raises OSError: it could not be written.
    """
    aside = root.tmp / temporary_name("history")
    create_file(aside, msgspec.json.encode(status), durable=False)
    os.replace(aside, root.run / "history.json")


def read_history_status(root: Root) -> HistoryStatus | None:
    """Return what the writer wrote last, None if there is nothing readable."""
    path = root.run / "history.json"
    try:
        return decode_json(read_bytes(path)[0], HistoryStatus, path)
    except (OSError, DamagedFileError):
        return None
