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
    """How many attempts run at once of an executor's jobs, and how many of all others."""
    running: int
    """All attempts."""
    running_announced: int = 0
    """Those of jobs that an executor submitted, which have slots of their own."""
    jobs: int
    is_draining: bool
    servers: tuple[ServerStatus, ...]

    def used_slots(self, *, is_announced: bool) -> int:
        """Return how many slots are in use, of those for an executor's jobs or of those for all others."""
        return self.running_announced if is_announced else self.running - self.running_announced

    def describe_slots(self) -> str:
        """Return in words how many slots are in use."""
        used = f"{self.used_slots(is_announced=False)} of {self.slots} slots in use"
        return f"{used}, {self.running_announced} of {self.slots} for Airflow" if self.running_announced else used

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
