"""Parts of logs, as whole characters, read from the job's own directory and from nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from air_executor.errors import DamagedFileError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST_CHARACTER = 4


class LogSlice(NamedTuple):
    """A part of a log."""

    content: bytes
    size: int
    """Of the whole log, in bytes."""
    next_offset: int
    """Where the next part begins."""


def read_slice(path: Path, offset: int, limit: int) -> LogSlice:
    """Return at most `limit` bytes of a log from `offset`; nothing if there is no such log.

    It ends where a character ends, unless the log itself ends within one, so that parts can be decoded one by one.

    :param path: `<job's directory>/logs/<file>`.
    :param offset: bytes; a negative one counts from the end, and then the part begins where a character begins.
    :raises DamagedFileError: a symbolic link, or no plain file, is in the way.
    """
    try:
        with _opened(path) as fd:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise DamagedFileError(f"{path}: is not a plain file; remove it")
            return _cut(fd, status.st_size, offset, limit)
    except FileNotFoundError:
        return LogSlice(b"", 0, 0)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise
        raise DamagedFileError(f"{path}: a symbolic link or no directory is in the way; remove it") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    # Step by step: a task may put a link to anywhere in the place of its job's directories.
    with contextlib.ExitStack() as stack:
        fd = None
        for name in (os.fspath(path.parent.parent), path.parent.name):
            fd = os.open(name, _DIRECTORY, dir_fd=fd)
            stack.callback(os.close, fd)
        fd = os.open(path.name, _FILE, dir_fd=fd)
        stack.callback(os.close, fd)
        yield fd


def _cut(fd: int, size: int, offset: int, limit: int) -> LogSlice:
    begin = min(offset, size) if offset >= 0 else max(size + offset, 0)
    content = os.pread(fd, limit, begin)
    if offset < 0 and begin > 0:
        skipped = _continuation(content)
        begin, content = begin + skipped, content[skipped:]
    if begin + len(content) < size:
        content = content[: len(content) - _unfinished(content)] or content
    return LogSlice(content, size, begin + len(content))


def _continuation(content: bytes) -> int:
    """Return how many bytes at the beginning belong to a character that began before."""
    count = 0
    while count < min(len(content), _LONGEST_CHARACTER - 1) and content[count] & 0xC0 == 0x80:
        count += 1
    return count


def _unfinished(content: bytes) -> int:
    """Return how many bytes at the end belong to a character that is not whole."""
    for count in range(1, min(len(content), _LONGEST_CHARACTER) + 1):
        byte = content[-count]
        if byte & 0xC0 == 0x80:
            continue
        length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return count if length > count else 0
    return 0
