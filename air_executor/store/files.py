"""Reading and writing single files: bounded, never through a symlink, whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from air_executor.errors import DamagedFileError, TornFileError

MAX_FILE_BYTES = 256 * 1024 * 1024
"""No file of the root is read beyond this; a view of 100,000 tasks has about 40 MiB."""

T = TypeVar("T")

_PIECE_BYTES = 65536
_NO_PLAIN_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file and what `fstat` said of the file that was read.

    :raises FileNotFoundError: it does not exist.
    :raises DamagedFileError: it is a symlink, no regular file, or larger than `limit` bytes.
    """
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        if error.errno not in _NO_PLAIN_FILE:
            # Too many open files, a disk that does not answer: that says nothing of the file.
            raise
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror}); a plain file is expected here") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedFileError(f"{path}: is not a plain file; remove it")
        if status.st_size > limit:
            raise DamagedFileError(f"{path}: {status.st_size} bytes are more than the {limit} that are read")
        return _read_up_to(fd, status.st_size, limit), status
    finally:
        os.close(fd)


def _read_up_to(fd: int, expected_bytes: int, limit: int) -> bytes:
    """Return all of a file, which may have grown meanwhile, up to one byte more than `limit`."""
    # Not one read of `limit` bytes: room for them would be mapped and given back for each small file.
    pieces: list[bytes] = []
    room = min(expected_bytes, limit) + 1
    while piece := os.read(fd, room):
        pieces.append(piece)
        room = min(limit + 1 - sum(map(len, pieces)), max(len(piece), _PIECE_BYTES))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def decode_json(content: bytes, kind: type[T], path: Path) -> T:
    """Turn JSON into `kind`, strictly.

    :raises TornFileError: it is no JSON.
    :raises DamagedFileError: naming file, field and what is expected there.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise DamagedFileError(f"{path}: {error}; correct that field") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise TornFileError(f"{path}: is not valid JSON ({error}); correct or restore it") from error


def create_file(path: Path, content: bytes | Iterable[bytes], *, durable: bool) -> os.stat_result:
    """Write a new file with mode 0600, whole or in pieces as they come.

    :raises FileExistsError: something of this name exists, also a symlink.
    """
    fd = os.open(path, _CREATE, 0o600)
    try:
        for piece in (content,) if isinstance(content, bytes) else content:
            write_all(fd, piece)
        if durable:
            # Before the rename that publishes it: after a power cut a published file must not be empty.
            os.fsync(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes) -> None:
    """Write every byte; a short write, as on a disk that fills up, goes on until the kernel says why."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut: a file's own fsync does not cover its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def keep_refused(path: Path) -> Path:
    """Move a file that cannot be used out of the way, and return where it is kept: `<name>.refused`."""
    kept = path.with_name(f"{path.name}.refused")
    os.replace(path, kept)
    return kept


def temporary_name(stem: str) -> str:
    """Return a name that no other writer has."""
    return f"{stem[:230]}.{secrets.token_hex(6)}"


def exchange(first: Path, second: Path) -> None:
    """Swap two files at once, so that neither is lost whatever stood in its place a moment ago.

    :raises FileNotFoundError: one of them does not exist.
    :raises OSError: see the message.
    """
    renameat2 = _renameat2()
    if renameat2 is not None:
        if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(number, os.strerror(number), str(second))
    # No such call here (macOS, some network file systems): what somebody renames to `second` between these lines is lost.
    kept = first.with_name(temporary_name(first.name))
    os.link(second, kept)
    os.rename(first, second)
    os.rename(kept, first)


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return cast("Callable[..., int]", function)
