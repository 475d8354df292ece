"""Free ports of the loopback interface."""

from __future__ import annotations

import random
import socket

_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections: one of them could be taken before it is used."""
_ATTEMPTS = 100


def free_port() -> int:
    """Return a port that nobody listens on now; who takes it should take it soon.

    :raises RuntimeError: none was found.
    """
    for port in random.SystemRandom().sample(_PORTS, _ATTEMPTS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"{_ATTEMPTS} ports are taken")
