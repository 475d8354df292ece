"""Fills the holes in the heap of a warm parent, so that what its forks allocate lies close together.

A hole is free memory in a page that is in use. What a fork allocates goes into holes first, here and there, and each page that it
touches is copied; without holes it fills pages of its own, one after the other. What fills them is never used.
"""

from __future__ import annotations

import ctypes
import os
import sys

_BYTES_HEADER = sys.getsizeof(b"")
_MOST_HELD_BYTES = 16 << 20
"""More holes than that are no leftovers."""
_C_SIZES = tuple(1 << power for power in range(15, 4, -1))
_MOST_BLOCKS = 20_000

_fillings: list[object] = []


def fill_holes() -> int:
    """Fill what holes there are; return how many bytes that took. Where nobody tells of them, nothing is done."""
    return _fill_python() + _fill_c()


def _fill_python() -> int:
    """Take all free blocks of Python's own allocator."""
    free = _count_free_blocks()
    size_bytes = sum(size * count for size, count in free.items())
    if size_bytes > _MOST_HELD_BYTES:
        return 0
    for size, count in free.items():
        # The smallest blocks are of no kind of object that can be had at will.
        if size > _BYTES_HEADER:
            _fillings.append([bytes(size - _BYTES_HEADER) for _ in range(count)])
    return size_bytes


def _count_free_blocks() -> dict[int, int]:
    """Return how many blocks of each size are free in pools that are in use; nothing where this Python does not tell."""
    report = getattr(sys, "_debugmallocstats", None)
    if report is None:
        return {}
    # It prints, to the descriptor of standard error.
    sys.stderr.flush()
    kept, sink = os.dup(2), os.memfd_create("air-executor-heap")
    try:
        os.dup2(sink, 2)
        report()
        os.dup2(kept, 2)
        text = os.pread(sink, os.fstat(sink).st_size, 0).decode("ascii", "replace")
    finally:
        os.close(kept)
        os.close(sink)
    rows = [line.split() for line in text.splitlines()]
    # class, size, pools in use, blocks in use, free blocks
    return {int(row[1]): int(row[4]) for row in rows if len(row) == 5 and all(word.isdigit() for word in row)}


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _fill_c() -> int:
    """Take the free chunks of the C library's allocator, but for the end of its heap, the largest first."""
    libc = ctypes.CDLL(None)
    look = getattr(libc, "mallinfo2", None)
    if look is None:
        # Not glibc, or one before 2.33.
        return 0
    look.restype = _MallocInfo
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    held = blocks = 0
    for size in _C_SIZES:
        while blocks < _MOST_BLOCKS and held < _MOST_HELD_BYTES:
            before = look()
            if before.fordblks - before.keepcost < size:
                break
            block = libc.malloc(size)
            after = look()
            if after.arena != before.arena or after.keepcost < before.keepcost:
                # No hole is so large any more: this came from the end.
                libc.free(block)
                break
            held += size
            blocks += 1
    return held
