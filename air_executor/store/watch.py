"""Waiting for changes in a few flat directories. Events are hints: they may be late or lost, so callers also look by themselves."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from air_executor.store.paths import store_path

_log = logging.getLogger(__name__)

# watchdog calls it an error when a watch is closed while its thread looks for events.
logging.getLogger("watchdog.observers.inotify").addFilter(lambda record: "thread is inactive" not in record.msg)

# Not the default mask: our own reading of a directory would wake us again, and again.
_EVENTS: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent]


class Watch:
    """Wakes when something appears in one of the directories. `fileno` becomes readable, for a selector."""

    def __init__(self, directories: Iterable[Path]) -> None:
        """Start watching; where the system has no watch left, say so once and never wake."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._appeared: deque[str] = deque()
        waker = _Waker(self._appeared, self._writer)
        self._observer = _make_observer(waker)
        self._observer.daemon = True
        self.is_live = True
        """False: no events will come, and only looking regularly finds what is new."""
        try:
            for directory in directories:
                self._observer.schedule(waker, str(directory), recursive=False, event_filter=_EVENTS)
            self._observer.start()
        except OSError as error:
            self.is_live = False
            _log.warning("file events are not available (%s): what is new is found by looking every few seconds", error)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reader

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as something appeared since the last `take` or `wait`, False after `timeout_s` seconds."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(max(timeout_s, 0) * 1000)) and bool(self.take())

    def take(self) -> list[Path]:
        """Return what appeared since the last call, as far as events tell."""
        # The pipe first: what appears after that leaves a byte for the next call.
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        taken: list[Path] = []
        while self._appeared:
            taken.append(store_path(self._appeared.popleft()))
        return taken

    def close(self) -> None:
        """Stop watching."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        os.close(self._reader)
        os.close(self._writer)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_observer(waker: _Waker) -> BaseObserver:
    if sys.platform != "linux":
        return Observer()
    from watchdog.observers.inotify import InotifyEmitter
    from watchdog.observers.inotify_c import InotifyConstants

    class ArrivalEmitter(InotifyEmitter):
        """Asks for arrivals alone.

        watchdog also asks for departures, and holds back everything for half a second after one, in case it was a move:
        each view that the manager swaps in is a departure too.
        """

        def get_event_mask_from_filter(self) -> Any:
            return InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE_SELF

        def queue_event(self, event: FileSystemEvent) -> None:
            # At once: the observer's queue and thread would only pass it on to the waker, a while later.
            if isinstance(event, tuple(_EVENTS)):
                waker.dispatch(event)

    return BaseObserver(ArrivalEmitter)


class _Waker(FileSystemEventHandler):
    """Notes the path and writes a byte; a full pipe has woken its reader already."""

    def __init__(self, appeared: deque[str], writer: int) -> None:
        self._appeared = appeared
        self._writer = writer

    def dispatch(self, event: FileSystemEvent) -> None:
        moved = isinstance(event, (FileMovedEvent, DirMovedEvent))
        self._appeared.append(os.fsdecode(event.dest_path if moved else event.src_path))
        with contextlib.suppress(OSError):
            os.write(self._writer, b"\0")
