"""The archived jobs, for those who ask by label: each is read once, and `archive/` looked through only when it has changed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from air_executor.client import JobView
from air_executor.core.names import is_plain_name
from air_executor.errors import AirExecutorError

MAX_ARCHIVED = 10_000
"""Older ones are found by their name only: the archive may hold any number."""
_SHARE = 10.0
"""What was found is used at least so many times longer than it took to find."""
_SETTLED_S = 2.0
"""A directory that changes twice in one tick of its file system's clock bears the same time after both."""


class _Known(NamedTuple):
    changed_at_ns: int
    inode: int
    job: JobView


class ArchivedJobs:
    """The newest archived jobs of one base path. Any thread may use it."""

    def __init__(self, directory: str, read: Callable[[str], JobView]) -> None:
        """Read nothing yet.

        :param read: returns the job whose state.json lies at a path.
        """
        self._directory = directory
        self._read = read
        self._known: dict[str, _Known] = {}
        self._jobs: list[JobView] = []
        self._stamp: int | None = None
        self._due_at = float("-inf")
        self._lock = threading.Lock()

    def newest(self) -> list[JobView]:
        """Return at most `MAX_ARCHIVED` jobs, those that changed last first.

        :raises OSError: `archive/` cannot be read.
        """
        # One looks, and the others who ask wait for what it finds.
        with self._lock:
            begin = time.monotonic()
            stamp = os.stat(self._directory).st_mtime_ns
            if stamp != self._stamp and begin >= self._due_at:
                is_settled = time.time_ns() - stamp > _SETTLED_S * 1e9
                self._look_through()
                self._stamp = stamp if is_settled else None
                end = time.monotonic()
                self._due_at = end + _SHARE * (end - begin)
            return self._jobs

    def _look_through(self) -> None:
        found: list[tuple[int, int, str]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if is_plain_name(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    # A job that was brought back, and archived anew, has changed meanwhile.
                    found.append((status.st_mtime_ns, status.st_ino, entry.name))
        found.sort(reverse=True)
        known: dict[str, _Known] = {}
        for changed_at_ns, inode, name in found[:MAX_ARCHIVED]:
            before = self._known.get(name)
            if before is not None and before[:2] == (changed_at_ns, inode):
                known[name] = before
                continue
            try:
                job = self._read(f"{self._directory}/{name}/state.json")
            except (AirExecutorError, OSError):
                # `air-executor doctor` tells of those.
                continue
            known[name] = _Known(changed_at_ns, inode, job)
        self._known = known
        self._jobs = sorted((each.job for each in known.values()), key=lambda job: job.updated_at, reverse=True)
