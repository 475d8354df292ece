"""Messages with open descriptors over a socket of Unix: they arrive as copies, and not inheritable."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

_RECEIVE_BYTES = 65536


def send_with_descriptors(endpoint: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
    """Send all of a message, and descriptors with its beginning. Raises OSError if nobody is there, or reads in time."""
    view = memoryview(message)
    sent = socket.send_fds(endpoint, [view], descriptors)
    if sent < len(message):
        # Not also with nothing left: Python waits for room first, and the kernel calls a quarter of the buffer full.
        endpoint.sendall(view[sent:])


def receive_with_descriptors(endpoint: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Wait for a part of a message: return it, and the descriptors that came with it, at most so many. Empty: no more will come."""
    chunk, descriptors, _, _ = socket.recv_fds(endpoint, _RECEIVE_BYTES, most)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return chunk, descriptors
