"""Reading journals that grow: events from where the last read ended, and what says that it is the same journal still."""

from __future__ import annotations

import contextlib
import os
import sys
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from air_executor.core.events import AnyEvent
from air_executor.store.journal import parse_line

_CHUNK_BYTES = 4 * 1024 * 1024


class Position(NamedTuple):
    """How far a journal has been read."""

    journal: str
    """Checksum of its first line: another journal of the same job has another one."""
    size: int
    """Bytes."""
    checksum: int
    """CRC-32 of these bytes: a journal that was cut and written on has another one."""


START = Position("", 0, 0)


class JournalChangedError(Exception):
    """The journal is not the one that was read before: it was cut, or replaced."""


class JournalReader:
    """Reads one journal from its start, as far as it is whole. The file is open only while it is read: there may be many."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.position = START

    def sync(self) -> None:
        """Have what was read survive a power cut: the history must not know more than the journal.

        :raises OSError: the disk refused.
        """
        with self._opened() as fd:
            os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)

    def read(self, limit: int = _CHUNK_BYTES, *, end: int = sys.maxsize) -> list[AnyEvent]:
        """Return the next events, about `limit` bytes of them; none at the end, or where a line is not whole yet.

        :param end: bytes of the journal that are read at the most.
        :raises JournalChangedError: what was read is no longer there.
        :raises OSError: it cannot be read.
        """
        journal, size, checksum = self.position
        content = self._read_lines(size, limit, end)
        events: list[AnyEvent] = []
        good = 0
        for line in content.split(b"\n")[:-1]:
            event = parse_line(line)
            if event is None:
                break
            events.append(event)
            good += len(line) + 1
        if not events and b"\n" in content and not self._is_as_read():
            raise JournalChangedError
        if not journal and events:
            journal = f"{zlib.crc32(content[: content.index(10)]):08x}"
        self.position = Position(journal, size + good, zlib.crc32(content[:good], checksum))
        return events

    def read_to(self, position: Position) -> list[AnyEvent] | None:
        """Return all events up to a position that was recorded; None if it is not in this journal.

        :raises OSError: it cannot be read.
        """
        events: list[AnyEvent] = []
        while self.position.size < position.size:
            try:
                found = self.read(end=position.size)
            except JournalChangedError:
                return None
            if not found:
                return None
            events += found
        return events if self.position == position else None

    def _is_as_read(self) -> bool:
        """Claim that what was read is still there: then the next line is damaged, and no more comes of the journal."""
        checksum = place = 0
        with self._opened() as fd:
            while place < self.position.size:
                content = os.pread(fd, min(_CHUNK_BYTES, self.position.size - place), place)
                if not content:
                    return False
                checksum = zlib.crc32(content, checksum)
                place += len(content)
        return checksum == self.position.checksum

    def _read_lines(self, size: int, limit: int, end: int) -> bytes:
        """Return bytes from `size` on, with at least one whole line, if there is one."""
        with self._opened() as fd:
            if os.fstat(fd).st_size < size:
                raise JournalChangedError
            content = b""
            # One line may be long: a job of very many tasks is queued in one.
            while b"\n" not in content:
                more = os.pread(fd, min(limit + len(content), end - size - len(content)), size + len(content))
                if not more:
                    break
                content += more
            return content

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
