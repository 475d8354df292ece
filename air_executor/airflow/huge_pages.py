"""Moves the memory of a warm parent into huge pages, so that a fork has 512 times fewer page table entries to copy.

A child that writes copies 4 KiB, as ever: the kernel splits its mapping, not the page. So this pays where children
write little to what they share (see `immortal`). Nothing is marked for huge pages from now on: children would get
2 MiB for every small thing. Linux 6.1 or later; elsewhere nothing is changed.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator

_HUGE_BYTES = 2 << 20
_MADV_COLLAPSE = 25
_FULL_ENOUGH = 0.95
"""Of a mapping, so much must be in use: what is not would be filled with zeros, and take memory for nothing."""

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)$")


def collapse(smaps_path: str = "/proc/self/smaps") -> int:
    """Move private memory that is full into huge pages; return how many there are. Refusals are no errors."""
    if sys.platform != "linux":
        return 0
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    collapsed = 0
    for address in list(_list_blocks(smaps_path)):
        if madvise(address, _HUGE_BYTES, _MADV_COLLAPSE) == 0:
            collapsed += 1
        elif collapsed == 0:
            # An older kernel, or one that was told to have no huge pages: the next would be refused as well.
            break
    return collapsed


def _list_blocks(smaps_path: str) -> Iterator[int]:
    """Yield the address of each whole 2 MiB of anonymous memory that is almost all in use."""
    begin = end = size_kib = 0
    try:
        with open(smaps_path) as smaps:
            for line in smaps:
                mapping = _MAPPING.match(line)
                if mapping is not None:
                    begin, end = int(mapping[1], 16), int(mapping[2], 16)
                    if mapping[3] != "rw-p" or mapping[4] not in ("", "[heap]"):
                        end = begin
                elif line.startswith("Size:"):
                    size_kib = int(line.split()[1])
                elif line.startswith("Rss:") and int(line.split()[1]) >= size_kib * _FULL_ENOUGH:
                    first = -(-begin // _HUGE_BYTES) * _HUGE_BYTES
                    yield from range(first, end - _HUGE_BYTES + 1, _HUGE_BYTES)
    except OSError:
        return
