"""A launch and its attempt's log on their way from one process to another, which is to run it or to fork who does."""

from __future__ import annotations

import os
import socket

import msgspec

from air_executor.process.protocol import Launch

_RECEIVE_BYTES = 65536
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Launch)


def send_launch(endpoint: socket.socket, launch: Launch, log_fd: int, patience_s: float) -> None:
    """Send both. Raises OSError if nobody is there, or does not read for so long. Leaves the socket with that timeout."""
    line = memoryview(_ENCODER.encode(launch) + b"\n")
    endpoint.settimeout(patience_s)
    sent = socket.send_fds(endpoint, [line], [log_fd])
    if sent < len(line):
        # Not also with nothing left: Python waits for room first, and the kernel calls a quarter of the buffer full.
        endpoint.sendall(line[sent:])


def receive_launch(endpoint: socket.socket) -> tuple[Launch, int, bytes] | None:
    """Wait for a launch: return it, its log, and what came right after it; None when none will come."""
    received, descriptors = bytearray(), []
    while b"\n" not in received[-_RECEIVE_BYTES:]:
        chunk, passed, _, _ = socket.recv_fds(endpoint, _RECEIVE_BYTES, 1)
        if not chunk:
            return None
        received += chunk
        descriptors += passed
    os.set_inheritable(descriptors[0], False)
    line, _, rest = received.partition(b"\n")
    return _DECODER.decode(line), descriptors[0], bytes(rest)
