"""Making the calling process the one to which orphans of its descendants fall, instead of init."""

from __future__ import annotations

from air_executor.process.procfs import IS_LINUX

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Adopt orphaned descendants from now on; False where the platform has no such thing. Idempotent."""
    if not IS_LINUX:
        return False
    import ctypes

    # prctl is variadic: without explicit types ctypes would pass ints where the kernel reads longs.
    unsigned_long = ctypes.c_ulong
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.prctl(_PR_SET_CHILD_SUBREAPER, unsigned_long(1), unsigned_long(0), unsigned_long(0), unsigned_long(0))
    return bool(result == 0)
