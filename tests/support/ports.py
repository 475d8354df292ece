"""Free ports of the loopback interface."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port that nobody listens on now; who takes it should take it soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
