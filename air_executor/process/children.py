"""What the kernel tells of a child of this process, before it is reaped: so its pid is still its own."""

from __future__ import annotations

import os


def has_ended(pid: int) -> bool:
    """Claim that it has exited, or is no child of this process."""
    return _is(pid, os.WEXITED)


def is_at_work(pid: int) -> bool:
    """Claim that it is a child that has neither exited nor been stopped by a signal."""
    return not _is(pid, os.WEXITED | os.WSTOPPED)


def _is(pid: int, what: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, what | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
