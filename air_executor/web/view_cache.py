"""What was read from files, kept as long as the files are the same and there is room."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_STRIPES = 16


@dataclass(frozen=True)
class _Entry(Generic[T]):
    identity: tuple[int, int, int]
    value: T
    cost: int


class ViewCache(Generic[T]):
    """Values by path, the least recently used dropped first. Any thread may use it."""

    def __init__(self, budget: int, cost: Callable[[T], int] = lambda _: 1) -> None:
        """Begin empty.

        :param budget: the costs of all values together stay below this; what costs more alone is not kept.
        """
        self._budget = budget
        self._cost = cost
        self._used = 0
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()
        # Of many who ask for a view that has just changed, one reads it; views of other jobs need not wait for that.
        self._reading = tuple(threading.Lock() for _ in range(_STRIPES))

    def get(self, path: str, read: Callable[[str], T]) -> T:
        """Return what `read` makes of the file at a path, read anew if the file is another one than last time.

        :raises FileNotFoundError: there is no such file.
        """
        # A file that is replaced after this line is read under an identity that is not its own: the next look reads it anew.
        identity = _identity(path)
        with self._lock:
            entry = self._find(path, identity)
        if entry is not None:
            return entry.value
        with self._reading[hash(path) % _STRIPES]:
            identity = _identity(path)
            with self._lock:
                entry = self._find(path, identity)
            if entry is not None:
                return entry.value
            value = read(path)
            with self._lock:
                self._keep(path, _Entry(identity, value, self._cost(value)))
            return value

    def _find(self, path: str, identity: tuple[int, int, int]) -> _Entry[T] | None:
        entry = self._entries.get(path)
        if entry is None or entry.identity != identity:
            return None
        self._entries.move_to_end(path)
        return entry

    def _keep(self, path: str, entry: _Entry[T]) -> None:
        old = self._entries.pop(path, None)
        self._used -= old.cost if old is not None else 0
        if entry.cost > self._budget:
            return
        self._entries[path] = entry
        self._used += entry.cost
        while self._used > self._budget:
            _, dropped = self._entries.popitem(last=False)
            self._used -= dropped.cost

    def __len__(self) -> int:
        return len(self._entries)


def _identity(path: str) -> tuple[int, int, int]:
    status = os.stat(path, follow_symlinks=False)
    return status.st_ino, status.st_mtime_ns, status.st_size
