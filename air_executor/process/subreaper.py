"""How a process is bound to its relatives: it adopts orphans of its descendants instead of init; it dies with its parent."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable

from air_executor.process.procfs import IS_LINUX

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Adopt orphaned descendants from now on; False where the platform has no such thing. Idempotent."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel SIGKILL the calling process when its parent dies, or that thread of it which forked; forks do not inherit it."""
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and os.getppid() != parent_pid:
        # It died before that.
        os._exit(1)


def outlive_parent() -> None:
    """Take back `die_with_parent`."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def _prctl(option: int, argument: int) -> bool:
    return IS_LINUX and _load_prctl()(option, argument) == 0


@functools.cache
def _load_prctl() -> Callable[[int, int], int]:
    """Return the system call; loaded once, as forks use it."""
    import ctypes

    function = ctypes.CDLL(None).prctl
    # It is variadic: without explicit types ctypes would pass ints where the kernel reads longs.
    zeros = (ctypes.c_ulong(0),) * 3
    return lambda option, argument: int(function(option, ctypes.c_ulong(argument), *zeros))
