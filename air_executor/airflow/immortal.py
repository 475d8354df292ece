"""Makes the objects of a warm parent immortal (PEP 683), so that its forks do not copy pages just to count references.

Every look at an object writes its reference count, into a page that parent and children would share. An immortal
object's count is never written. Only where that is known to hold: see `why_not`. Call before the first fork, in one
thread; a process that has done this leaves by `os._exit`, since no interpreter was made to tear such objects down.
"""

from __future__ import annotations

import ctypes
import gc
import io
import mmap
import select
import socket
import struct
import sys
import sysconfig
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# `_Py_IMMORTAL_REFCNT` of 64-bit builds; 3.14 has another scheme.
_IMMORTAL_COUNT = 0xFFFF_FFFF
_VERSIONS = ((3, 12), (3, 13))
_WORD_BYTES = 8
# As far as user space reaches: an array over all of it makes the count of an object one item.
_ADDRESSABLE_BYTES = 1 << 47

_MORTAL = (
    # What ends, closes or is resumed when its last reference goes.
    types.FrameType,
    types.TracebackType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    # Not io.IOBase itself: to ask an abstract class writes down the answer.
    io.IOBase.__bases__[0],
    socket.socket,
    mmap.mmap,
    select.epoll,
)
_CODE_PARTS = ("co_consts", "co_names", "co_filename", "co_name", "co_qualname", "co_linetable", "co_exceptiontable")


_NAMESPACE = type.__dict__["__dict__"]


class _Probe:
    """Stands for all objects in the check of how this interpreter counts."""


def why_not() -> str | None:
    """Say why objects of this interpreter cannot be made immortal; None where they can."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _VERSIONS:
        return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]} counts references in another way"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "a free-threaded interpreter counts references in another way"
    if hasattr(sys, "gettotalrefcount") or sysconfig.get_config_var("Py_TRACE_REFS"):
        return "a debug build checks its reference counts"
    if sys.byteorder != "little" or struct.calcsize("P") != _WORD_BYTES:
        return "only 64-bit little-endian machines are supported"
    return None if _behaves_as_expected() else "its reference counts are not where they were expected"


def make_all_immortal() -> int:
    """Make everything that can be found immortal; return how many objects that were.

    :raises RuntimeError: this interpreter is not one of those known; nothing was changed.
    """
    with _uncollected():
        gc.collect()
        # Frozen objects are not listed.
        gc.unfreeze()
        return _spread(gc.get_objects())


def make_new_immortal() -> int:
    """Make what is not frozen immortal, and all that it refers to: for a fork that has loaded more. Returns how many objects.

    :raises RuntimeError: as `make_all_immortal`.
    """
    with _uncollected():
        return _spread(gc.get_objects())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have no collection walk what is being changed."""
    reason = why_not()
    if reason is not None:
        raise RuntimeError(reason)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _spread(waiting: list[Any]) -> int:
    counts = _all_memory()
    count_of, referents_of = sys.getrefcount, gc.get_referents
    is_mortal: dict[type, bool] = {}
    made = 0
    while waiting:
        item = waiting.pop()
        kind = type(item)
        # Being immortal is the mark that an object was seen, so no set of a million addresses is needed.
        if count_of(item) >= _IMMORTAL_COUNT:
            continue
        if kind not in is_mortal:
            is_mortal[kind] = issubclass(kind, _MORTAL)
            # Types of C are immortal from birth and listed nowhere; their methods are not.
            waiting += [part for base in kind.__mro__ for part in referents_of(_get_namespace(base))]
        if is_mortal[kind]:
            continue
        counts[id(item) // _WORD_BYTES] = _IMMORTAL_COUNT
        made += 1
        waiting += referents_of(item)
        if issubclass(kind, dict):
            # Its traversal leaves out keys that are text.
            waiting += dict.keys(item)
        elif kind is types.CodeType:
            # Unknown to the garbage collector.
            waiting += [getattr(item, name) for name in _CODE_PARTS]
    return made


def _get_namespace(kind: type) -> Any:
    # Not kind.__dict__, which a metaclass may have made into something else.
    return _NAMESPACE.__get__(kind)


def _behaves_as_expected() -> bool:
    """Try it with an object that nobody needs: is the count where it is looked for, and does it then stay?"""
    probe = _Probe()
    before = sys.getrefcount(probe)
    cell = ctypes.c_uint64.from_address(id(probe))
    # One less: that of the argument of getrefcount.
    if cell.value != before - 1:
        return False
    more = [probe, probe]
    if cell.value != before + 1 or ctypes.c_uint64.from_address(id(None)).value != _IMMORTAL_COUNT:
        return False
    cell.value = _IMMORTAL_COUNT
    more.append(probe)
    more.clear()
    stays = cell.value == sys.getrefcount(probe) == _IMMORTAL_COUNT
    gc.collect()
    return stays and cell.value == _IMMORTAL_COUNT


def _all_memory() -> Any:
    return (ctypes.c_uint64 * (_ADDRESSABLE_BYTES // _WORD_BYTES)).from_address(0)
