"""The lock that makes a manager the only one of its root. The lock is the truth; the pid file is for people."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from air_executor.errors import ManagerRunningError
from air_executor.store.root import Root

_TRIES = 50
_PAUSE_S = 0.002
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class ManagerLock:
    """Held from construction until `release`, or until this process is gone: the kernel sees to it."""

    def __init__(self, root: Root) -> None:
        """Take the lock and write the pid file.

        :raises ManagerRunningError: another process holds it.
        """
        self._root = root
        # The file is never removed: a process that opened it before could else lock a file that nobody sees.
        self._fd = os.open(root.manager_lock, _LOCK_FILE, 0o600)
        if not _lock(self._fd):
            os.close(self._fd)
            raise ManagerRunningError(
                f"a manager (pid {read_manager_pid(root)}) runs on {root.path} already: `air-executor manager stop` ends it"
            )
        root.manager_pid.unlink(missing_ok=True)
        with open(os.open(root.manager_pid, _LOCK_FILE | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")

    def release(self) -> None:
        """Give the lock back and remove the pid file."""
        self._root.manager_pid.unlink(missing_ok=True)
        os.close(self._fd)


def _lock(fd: int) -> bool:
    # Who asks by `is_locked` holds a shared lock for some microseconds: that is no manager.
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    return False


def is_locked(path: Path) -> bool:
    """Claim that some process holds the lock of this file; a file that does not exist is not locked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def manager_is_running(root: Root) -> bool:
    """Claim that a manager holds the lock of this root."""
    return is_locked(root.manager_lock)


def read_manager_pid(root: Root) -> int | None:
    """Return the pid in the pid file; None if there is none or it holds something else."""
    with contextlib.suppress(OSError, ValueError):
        return int(root.manager_pid.read_text(encoding="ascii"))
    return None
