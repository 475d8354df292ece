"""What a manager tells of itself in `run/manager.json`, for `air-executor status`."""

from __future__ import annotations

import os
from datetime import datetime

import msgspec

from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes, temporary_name
from air_executor.store.root import Root


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One fork server."""

    kind: str
    pid: int
    is_ready: bool
    running: int


class ManagerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A running manager."""

    pid: int
    started_at: datetime
    slots: int
    running: int
    jobs: int
    is_draining: bool
    servers: tuple[ServerStatus, ...]
    metrics_url: str | None = None
    """Where Prometheus may read metrics."""


def write_status(root: Root, status: ManagerStatus | None) -> None:
    """Replace the status; None removes it.

    :raises OSError: it could not be written.
    """
    path = root.run / "manager.json"
    if status is None:
        path.unlink(missing_ok=True)
        return
    aside = root.tmp / temporary_name("manager")
    create_file(aside, msgspec.json.encode(status), durable=False)
    os.replace(aside, path)


def read_status(root: Root) -> ManagerStatus | None:
    """Return what the manager wrote last, None if there is nothing readable."""
    path = root.run / "manager.json"
    try:
        return decode_json(read_bytes(path)[0], ManagerStatus, path)
    except (FileNotFoundError, DamagedFileError):
        return None
