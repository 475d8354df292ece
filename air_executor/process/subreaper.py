"""How a process is bound to its relatives: it adopts orphans of its descendants instead of init; it dies with its parent."""

from __future__ import annotations

import os
import signal

from air_executor.process.procfs import IS_LINUX

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Adopt orphaned descendants from now on; False where the platform has no such thing. Idempotent."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel SIGKILL the calling process when its parent dies, which must have one thread; forks do not inherit it."""
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and os.getppid() != parent_pid:
        # It died before that.
        os._exit(1)


def _prctl(option: int, argument: int) -> bool:
    if not IS_LINUX:
        return False
    import ctypes

    # prctl is variadic: without explicit types ctypes would pass ints where the kernel reads longs.
    unsigned_long = ctypes.c_ulong
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.prctl(option, unsigned_long(argument), unsigned_long(0), unsigned_long(0), unsigned_long(0))
    return bool(result == 0)
