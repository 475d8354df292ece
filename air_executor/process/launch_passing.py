"""A launch and its attempt's log on their way from one process to another, which is to run it or to fork who does."""

from __future__ import annotations

import socket

import msgspec

from air_executor.process.descriptor_passing import receive_with_descriptors, send_with_descriptors
from air_executor.process.protocol import Launch

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Launch)


def send_launch(endpoint: socket.socket, launch: Launch, log_fd: int, patience_s: float) -> None:
    """Send both. Raises OSError if nobody is there, or does not read for so long. Leaves the socket with that timeout."""
    endpoint.settimeout(patience_s)
    send_with_descriptors(endpoint, _ENCODER.encode(launch) + b"\n", [log_fd])


def receive_launch(endpoint: socket.socket) -> tuple[Launch, int, bytes] | None:
    """Wait for a launch: return it, its log, and what came right after it; None when none will come."""
    received, descriptors, chunk = bytearray(), [], b""
    while b"\n" not in chunk:
        chunk, passed = receive_with_descriptors(endpoint, 1)
        if not chunk:
            return None
        received += chunk
        descriptors += passed
    line, _, rest = received.partition(b"\n")
    return _DECODER.decode(line), descriptors[0], bytes(rest)
