"""The truth about one job: an append-only file of events, each line with its checksum."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from air_executor.core.events import AnyEvent, Event
from air_executor.errors import DamagedFileError
from air_executor.store.files import MAX_FILE_BYTES, create_file, read_bytes, sync_directory, write_all

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)
_CHECKSUM_DIGITS = 8
_COMPACT_AT_BYTES = 64 * 1024 * 1024


class JournalCutError(OSError):
    """The journal is shorter than what was written to it."""


class Journal:
    """Appends events to `jobs/<job>/journal`. One manager writes it; the lock of the root sees to that.

    Events are collected by `add` and written together by `flush`, so that one fsync serves many of them.
    """

    def __init__(self, path: Path, *, durable: bool, size: int = 0) -> None:
        """Open nothing yet.

        :param size: bytes that are known to be good, as `replay` returns them; what lies behind is cut off.
        """
        self._path = path
        self._durable = durable
        self._size = size
        self._exists = size > 0
        self._compact_at = max(_COMPACT_AT_BYTES, size)
        self._pending: list[bytes] = []

    @property
    def is_long(self) -> bool:
        """Claim that the file has grown so much that `rewrite` is worth its time."""
        return self._size > self._compact_at

    def add(self, event: Event) -> None:
        """Collect an event for the next `flush`."""
        self._pending.append(_line(event))

    def flush(self) -> None:
        """Write what was collected; durable journals are on disk when this returns.

        If it fails nothing is lost: the file is cut back at the next call, and everything collected is written anew. After a
        failed fsync the kernel takes the lost pages for clean, so that a second fsync alone would succeed falsely.

        :raises JournalCutError: somebody cut or replaced the file: only `rewrite` helps.
        :raises OSError: the disk is full, read-only or broken.
        """
        if not self._pending:
            return
        content = b"".join(self._pending)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(fd).st_size
            if found < self._size:
                # Writing on where it should end would leave a hole of zero bytes.
                raise JournalCutError(errno.EIO, f"it has {found} bytes instead of {self._size}", str(self._path))
            if found > self._size:
                os.ftruncate(fd, self._size)
            os.lseek(fd, self._size, os.SEEK_SET)
            write_all(fd, content)
            if self._durable:
                os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)
        finally:
            os.close(fd)
        if self._durable and not self._exists:
            sync_directory(self._path.parent)
        self._exists = True
        self._size += len(content)
        self._pending.clear()

    def rewrite(self, events: Iterable[Event] | None, aside: Path) -> None:
        """Replace the file by one that holds only these events, and forget what was collected.

        :param events: all that counts from now on; None for what was collected.
        :param aside: path of a new file on the same file system.
        :raises OSError: it could not be written; the journal is as it was.
        """
        lines = list(self._pending) if events is None else map(_line, events)
        status = create_file(aside, lines, durable=self._durable)
        os.rename(aside, self._path)
        if self._durable:
            sync_directory(self._path.parent)
        self._pending.clear()
        self._exists = True
        self._size = status.st_size
        self._compact_at = max(_COMPACT_AT_BYTES, 3 * self._size)


def replay(path: Path) -> tuple[list[AnyEvent], int]:
    """Return the events of a journal and the number of good bytes; none and 0 if there is no journal.

    A torn last line is what a kill or a power cut during a write leaves: it was never acted upon and is left out.

    :raises DamagedFileError: a line before the last one is damaged, with its number.
    """
    try:
        content, _ = read_bytes(path, limit=8 * MAX_FILE_BYTES)
    except FileNotFoundError:
        return [], 0
    events: list[AnyEvent] = []
    good = 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        event = parse_line(line)
        if event is None:
            if number == len(lines) - 1 or not any(map(parse_line, lines[number:-1])):
                break
            raise DamagedFileError(
                f"{path}: line {number} is damaged; restore the file, or remove it to start from tasks.json"
            )
        events.append(event)
        good += len(line) + 1
    return events, good


def parse_line(line: bytes) -> AnyEvent | None:
    """Return the event of a line without its end; None if it is torn or damaged."""
    body = line[_CHECKSUM_DIGITS + 1 :]
    try:
        if int(line[:_CHECKSUM_DIGITS], 16) != zlib.crc32(body):
            return None
        event: AnyEvent = _decoder.decode(body)
        return event
    except (ValueError, msgspec.MsgspecError):
        return None


def _line(event: Event) -> bytes:
    body = _encoder.encode(event)
    return b"%08x %s\n" % (zlib.crc32(body), body)
