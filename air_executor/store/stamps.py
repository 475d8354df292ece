"""Stamps of files and directories: what tells, by one `stat` each, that something was changed since."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes

_MOST_BYTES = 8 * 1024 * 1024


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """A path and what `stat` said of it; `mtime_ns` is None where it did not exist."""

    path: str
    mtime_ns: int | None
    size_bytes: int = 0
    inode: int = 0


def take_stamp(path: str) -> Stamp:
    """Return the stamp of what lies at `path` now. What cannot be looked at counts as absent."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return Stamp(path, None)
    return Stamp(path, status.st_mtime_ns, status.st_size, status.st_ino)


def find_changed(stamps: Iterable[Stamp]) -> str | None:
    """Return the first path that is not as it was; None if all are."""
    return next((stamp.path for stamp in stamps if take_stamp(stamp.path) != stamp), None)


def write_stamps(path: Path, stamps: Iterable[Stamp]) -> None:
    """Write a new file of stamps.

    :raises OSError: it exists or could not be written.
    """
    create_file(path, msgspec.json.encode(list(stamps)), durable=False)


def read_stamps(path: Path) -> tuple[Stamp, ...]:
    """Return the stamps of a file; none where it cannot be read."""
    try:
        content, _ = read_bytes(path, _MOST_BYTES)
        return decode_json(content, tuple[Stamp, ...], path)
    except (OSError, DamagedFileError):
        return ()
