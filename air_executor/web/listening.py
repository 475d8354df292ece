"""Sockets to listen on: loopback or a socket file in a directory of one's own, unless somebody asks for more."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from air_executor.errors import ConfigurationError

_BACKLOG = 128


def listen_on_port(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens.

    :param port: 0 lets the system choose.
    :raises ConfigurationError: the address cannot be used.
    """
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f"--host {host}: is no address of this machine ({error.strerror})") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # A server that was stopped a moment ago must not keep the next one from its port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        remedy = (
            "stop what listens there, or choose another --port" if error.errno == errno.EADDRINUSE else "choose another"
        )
        raise ConfigurationError(f"{host} port {port}: cannot be used ({error.strerror}); {remedy}") from error
    return listener


@contextlib.contextmanager
def listening_on_file(path: Path) -> Iterator[socket.socket]:
    """Give a Unix socket that listens, and remove its file at the end.

    :raises ConfigurationError: the directory is open to others, or the file cannot be used.
    """
    _check_directory(path.parent)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            _remove_left_over(path)
            # The directory keeps others out; this keeps them out as well if somebody opens the directory later.
            mask = os.umask(0o177)
            try:
                listener.bind(os.fspath(path))
            finally:
                os.umask(mask)
            listener.listen(_BACKLOG)
            ours = os.lstat(path)
        except OSError as error:
            raise ConfigurationError(
                f"--socket {path}: cannot be used ({error.strerror or error}); choose another path"
            ) from error
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                # Not that of a server that took the place.
                if os.path.samestat(os.lstat(path), ours):
                    path.unlink()


def _check_directory(directory: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        status = os.lstat(directory)
    except OSError as error:
        raise ConfigurationError(
            f"{directory}: cannot hold the socket ({error.strerror}); choose another --socket"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(
            f"{directory}: must be a directory that is yours alone, as it keeps others from the socket; "
            f"run `chmod 700 {directory}`, or choose another --socket"
        )


def _remove_left_over(path: Path) -> None:
    """Remove the socket of a server that was killed.

    :raises ConfigurationError: something else is there, or a server still answers.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigurationError(f"--socket {path}: is no socket; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigurationError(f"--socket {path}: a server listens there already; stop it, or choose another path")
