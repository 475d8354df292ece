"""One inotify instance for any number of directories, without a thread: for whoever waits for hundreds of jobs at once.

`watch.Watch` takes an instance and threads per directory, and Linux gives a user 128 instances. Events are hints here too.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

# <sys/inotify.h>
_IN_CLOSE_WRITE = 0x8
_IN_MOVED_TO = 0x80
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_Q_OVERFLOW = 0x4000
_IN_IGNORED = 0x8000
_IN_ONLYDIR = 0x1000000
_IN_DONT_FOLLOW = 0x2000000
_MASK = _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_ONLYDIR | _IN_DONT_FOLLOW
_HEADER = struct.Struct("iIII")
_BUFFER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Arrival:
    """Something happened in a watched directory."""

    watch: int
    """Which directory, as `add` returned it; -1: events were lost, look everywhere."""
    name: str
    """What was written or renamed into place there; empty: the directory itself has gone, or was moved."""


class Inotify:
    """Watches directories, non-recursively, for what is written there or renamed into place. For one thread."""

    def __init__(self) -> None:
        """Open an instance.

        :raises OSError: the system has none (macOS), or none left.
        """
        self._fd = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._fd

    def add(self, directory: Path) -> int:
        """Watch a directory and return its watch; the same directory gives the same one.

        :raises OSError: it is gone, or the system has no watch left.
        """
        return _call("inotify_add_watch", self._fd, os.fsencode(directory), _MASK)

    def remove(self, watch: int) -> None:
        """Watch a directory no more; one that has gone is no error."""
        try:
            _call("inotify_rm_watch", self._fd, watch)
        except OSError:
            return

    def take(self) -> list[Arrival]:
        """Return what happened since the last call; never waits."""
        taken: list[Arrival] = []
        while True:
            try:
                content = os.read(self._fd, _BUFFER_BYTES)
            except BlockingIOError:
                return taken
            position = 0
            while position < len(content):
                watch, mask, _, length = _HEADER.unpack_from(content, position)
                position += _HEADER.size
                name = content[position : position + length].rstrip(b"\0")
                position += length
                if not mask & _IN_IGNORED:
                    taken.append(Arrival(-1 if mask & _IN_Q_OVERFLOW else watch, os.fsdecode(name)))

    def close(self) -> None:
        """Close the instance, and with it all watches."""
        os.close(self._fd)


def _call(name: str, *arguments: Any) -> int:
    function = getattr(_libc(), name, None)
    if function is None:
        raise OSError(f"{name} is not available on {sys.platform}")
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
