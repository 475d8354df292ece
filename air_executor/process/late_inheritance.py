"""What a fork inherits, passed to a process that was forked before it was there: environment, directory, output, descriptors.

Linux only: the directory is passed as a descriptor, so that one that was renamed or removed meanwhile is the same all the same.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence

import msgspec

from air_executor.process.descriptor_passing import receive_with_descriptors, send_with_descriptors

_OUTPUTS = (1, 2)
_LENGTH_BYTES = 8
_MOST_DESCRIPTORS = 64


class BrokenInheritanceError(Exception):
    """Whoever passed it ended before all of it was there."""


class LateInheritance(msgspec.Struct, frozen=True):
    """What has arrived."""

    variables: tuple[bytes, ...]
    """Environment variables that differ, `name=value`; without `=` one that is gone."""
    directory_fd: int
    output_fds: tuple[int, ...]
    descriptors: tuple[int, ...]
    """In the order in which they were passed; none is inheritable."""

    def take_effect(self) -> None:
        """Have this process look as if it had been forked by who passed it. Raises OSError.

        A copy of the output stays open: with an attempt's log it keeps the lock, whatever becomes of standard output.
        """
        for entry in self.variables:
            name, is_set, value = entry.partition(b"=")
            if is_set:
                os.environb[name] = value
            else:
                os.environb.pop(name, None)
        os.fchdir(self.directory_fd)
        os.close(self.directory_fd)
        for number, descriptor in zip(_OUTPUTS, self.output_fds, strict=True):
            os.dup2(descriptor, number)
        for descriptor in self.output_fds[1:]:
            os.close(descriptor)


def pass_inheritance(endpoint: socket.socket, variables: Mapping[str, str], descriptors: Sequence[int]) -> None:
    """Pass what this process has now, and some of its descriptors. Raises OSError if nobody is there, or reads in time.

    :param variables: the environment at the fork, which the other has.
    """
    directory_fd = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        send_with_descriptors(endpoint, _encode(variables), [directory_fd, *_OUTPUTS, *descriptors])
    finally:
        os.close(directory_fd)


def _encode(before: Mapping[str, str]) -> bytes:
    now = dict(os.environ)
    changed = [f"{name}={value}" for name, value in now.items() if before.get(name) != value]
    content = b"\0".join(os.fsencode(entry) for entry in (*changed, *(before.keys() - now.keys())))
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


def receive_inheritance(endpoint: socket.socket) -> LateInheritance | None:
    """Wait for it; None when none will come.

    :raises BrokenInheritanceError: a part of it is missing.
    """
    received, passed = bytearray(), []
    missing = _LENGTH_BYTES
    while missing > 0:
        chunk, descriptors = receive_with_descriptors(endpoint, _MOST_DESCRIPTORS)
        received += chunk
        passed += descriptors
        if not chunk:
            break
        length = int.from_bytes(received[:_LENGTH_BYTES], "big") if len(received) >= _LENGTH_BYTES else 0
        missing = _LENGTH_BYTES + length - len(received)
    if not received:
        return None
    if missing > 0 or len(passed) < 1 + len(_OUTPUTS):
        for descriptor in passed:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        raise BrokenInheritanceError("a process ended while it passed on what a fork of it would inherit")
    content = bytes(received[_LENGTH_BYTES:])
    return LateInheritance(
        variables=tuple(content.split(b"\0")) if content else (),
        directory_fd=passed[0],
        output_fds=tuple(passed[1 : 1 + len(_OUTPUTS)]),
        descriptors=tuple(passed[1 + len(_OUTPUTS) :]),
    )
