"""Appends to the log file of a task instance, which Airflow's supervisor and web UI read as JSON lines."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import msgspec
from airflow.configuration import conf

_LOGGER_NAME = "air_executor"


def append_event(log_path: str | None, event: str, *, level: str = "error") -> bool:
    """Append one event to the log at `log_path`, relative to [logging] base_log_folder; tell whether it was written.

    A log that cannot be written stops nothing: the same text goes to the scheduler log and to the audit log.
    """
    if not log_path:
        return False
    try:
        path = _make_file(log_path)
        # O_APPEND and one write: the supervisor may be writing to the same file.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, _encode(event, level))
        finally:
            os.close(descriptor)
    except Exception:
        # Airflow's own file creation may raise more than OSError.
        return False
    return True


def find_file(log_path: str) -> Path:
    """Return where the log at `log_path` lies on this machine; it may not exist."""
    return Path(conf.get("logging", "base_log_folder"), log_path)


def read_tail(path: Path, max_bytes: int) -> str:
    """Return the end of a file, without the line that was cut; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            text = file.read(max_bytes).decode("utf-8", "replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if size > max_bytes and "\n" in text else text


def _make_file(log_path: str) -> Path:
    from airflow.sdk.log import init_log_file

    return Path(init_log_file(log_path))


def _encode(event: str, level: str) -> bytes:
    at = datetime.now(tz=timezone.utc).isoformat().replace("+00:00", "Z")
    return msgspec.json.encode({"timestamp": at, "level": level, "event": event, "logger": _LOGGER_NAME}) + b"\n"
