"""A fork server's own durable record: JSON lines, appended, one write a batch. Its lock tells whether the server lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable

import msgspec

from air_executor.process.attempt_log import is_locked
from air_executor.process.protocol import Report

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Report)


class Spool:
    """The writing side; one per fork server, for its lifetime.

    What survives is what has reached the kernel: a killed server loses nothing, a power cut may, and
    after one no process of this boot is left to tell about.
    """

    def __init__(self, path: str) -> None:
        """Create the file, mode 0600; raises FileExistsError when another server used that name."""
        flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._pending = b""

    def fileno(self) -> int:
        """Return the locked descriptor. A forked child must close it: it would make a dead server look alive."""
        return self._descriptor

    @property
    def has_pending(self) -> bool:
        """Whether records wait because the disk refused them."""
        return bool(self._pending)

    def append(self, reports: Iterable[Report]) -> bool:
        """Write records after those that wait; False when the disk refused some, which then wait for the next call."""
        self._pending += _ENCODER.encode_lines(reports)
        try:
            while self._pending:
                # A short write leaves half a line; this is the only writer, so the next write completes it.
                self._pending = self._pending[os.write(self._descriptor, self._pending) :]
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file and with it give up the lock: this server is seen as gone."""
        os.close(self._descriptor)


def read_spool(path: str) -> list[Report]:
    """Read all whole records, oldest first; a last line torn by a crash is left out.

    Raises OSError, and msgspec.DecodeError (or its ValidationError) when a whole line is damaged.
    """
    with open(path, "rb") as file:
        data = file.read()
    return [_DECODER.decode(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]


def spool_is_live(path: str) -> bool:
    """Tell whether the fork server that writes this spool still runs: it holds the lock of the file."""
    return is_locked(path)
