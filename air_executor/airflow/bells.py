"""Wakes any number of coroutines of one event loop when their job changes or appears, with one inotify instance for all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from air_executor.store.inotify import Inotify

_log = logging.getLogger(__name__)
_STATE = "state.json"


class Bell:
    """Rings when what it is hung for changes."""

    def __init__(self, name: str, *, is_live: bool) -> None:
        self._rung = asyncio.Event()
        self.name = name
        self.is_live = is_live
        """False: it never rings, because the system has no watch left; look now and then."""

    def ring(self) -> None:
        """Wake who waits."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True as soon as it has rung since the last call, False after `timeout_s` seconds."""
        if not self._rung.is_set():
            try:
                await asyncio.wait_for(self._rung.wait(), timeout_s)
            except asyncio.TimeoutError:
                return False
        self._rung.clear()
        return True


class Bells:
    """The bells of one event loop."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._by_watch: dict[int, set[Bell]] = {}
        self._has_complained = False

    @contextlib.asynccontextmanager
    async def hang(self, directory: Path, name: str = _STATE) -> AsyncIterator[Bell]:
        """Give a bell that rings when `name` is written or moved into `directory`; by default for the job that lies there."""
        watch = self._watch(directory)
        bell = Bell(name, is_live=watch is not None)
        if watch is None:
            yield bell
            return
        self._by_watch.setdefault(watch, set()).add(bell)
        try:
            yield bell
        finally:
            self._by_watch[watch].discard(bell)
            if not self._by_watch[watch]:
                del self._by_watch[watch]
                self._unwatch(watch)

    def _watch(self, directory: Path) -> int | None:
        try:
            if self._inotify is None:
                self._inotify = Inotify()
                asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._ring)
            return self._inotify.add(directory)
        except OSError as error:
            self._close_if_idle()
            # A job that was removed meanwhile is no fault of the system.
            if not self._has_complained and not isinstance(error, FileNotFoundError):
                self._has_complained = True
                _log.warning("file events are not available (%s): jobs are looked at every second", error)
            return None

    def _unwatch(self, watch: int) -> None:
        assert self._inotify is not None
        self._inotify.remove(watch)
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._inotify is not None and not self._by_watch:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def _ring(self) -> None:
        assert self._inotify is not None
        for arrival in self._inotify.take():
            if arrival.watch == -1:
                for bell in {bell for bells in self._by_watch.values() for bell in bells}:
                    bell.ring()
            else:
                for bell in self._by_watch.get(arrival.watch, ()):
                    if arrival.name in (bell.name, ""):
                        bell.ring()
