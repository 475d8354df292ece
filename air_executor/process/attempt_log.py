"""An attempt's log file, which is also its claim (whoever creates it owns the attempt) and its lock (held = alive)."""

from __future__ import annotations

import fcntl
import os
import stat
import time

_LOCK_TRIES = 200
_LOCK_PAUSE_S = 0.001


def create_attempt_log(path: str) -> int:
    """Claim an attempt: create its log, lock it, return the descriptor (not inheritable, appending, mode 0600).

    Raises FileExistsError when the attempt is claimed already; another OSError when it cannot be claimed at all.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        # A symbolic link or directory in this place is nobody's claim.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(f"{path} is in the way: not a regular file; remove it") from None
        raise
    try:
        _lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int) -> None:
    # `is_locked` of another process may hold its shared lock for some microseconds: that is no owner.
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
    raise OSError("the log is locked by another process although it was created just now")


def is_locked(path: str) -> bool:
    """Tell whether any process of the attempt holds its log's lock; False when there is no log.

    There are microseconds between a claim and its lock: an unlocked log without a record is only to be
    called lost when no fork server that could have claimed it lives (`spool_is_live`).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who ask at once do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
