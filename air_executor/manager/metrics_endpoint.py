"""The metrics endpoint: where it listens, and why it does not. The manager's own loop serves it, so no thread reads its state."""

from __future__ import annotations

import logging
import selectors
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from air_executor.core.addresses import is_loopback
from air_executor.manager.metrics_connection import Connection
from air_executor.manager.metrics_page import PATH, Render

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 16


class MetricsEndpoint:
    """Answers GET /metrics. What keeps it from doing so is told once, and stops nothing else."""

    def __init__(self, selector: selectors.BaseSelector, make_registry: Callable[[], CollectorRegistry]) -> None:
        """Listen to nothing yet.

        :param make_registry: called when the endpoint opens; it imports what not everybody has installed.
        """
        self._selector = selector
        self._make_registry = make_registry
        self._listener: socket.socket | None = None
        self._address: tuple[str, int] | None = None
        self._render: Render | None = None
        self._connections: set[Connection] = set()
        self._told = ""

    @property
    def url(self) -> str | None:
        """Return where metrics can be read; None if nowhere."""
        if self._address is None:
            return None
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    def apply(self, host: str, port: int | None) -> None:
        """Listen there, and nowhere else; call it again to try again, or with other settings. Raises no error."""
        if self._address == (None if port is None else (host, port)):
            return
        self.close()
        if port is None:
            return
        try:
            self._render = _renderer(self._make_registry())
            self._listener = _listen(host, port)
        except ImportError as error:
            remedy = f"`{sys.executable} -m pip install 'air-executor[metrics]'`"
            self._tell(f"no metrics: {error.name or error} is not installed here ({remedy}); all else goes on")
            return
        except OSError as error:
            remedy = "free it, or choose another metrics_port and reload"
            self._tell(
                f"no metrics: {host}:{port} cannot be used: {error.strerror or error} ({remedy}); all else goes on"
            )
            return
        self._address, self._told = (host, port), ""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        _log.info("metrics are at %s", self.url)
        if not is_loopback(host):
            _log.warning("whoever reaches %s can read the metrics: they hold no names, but how much runs here", host)

    def next_due(self) -> float | None:
        """Return the monotonic instant at which `drop_slow` has something to do."""
        return min((each.deadline for each in self._connections), default=None)

    def drop_slow(self, now: float) -> None:
        """Close connections that have taken too long."""
        for each in [each for each in self._connections if each.deadline <= now]:
            each.close()

    def close(self) -> None:
        """Listen no more and close all connections."""
        for each in list(self._connections):
            each.close()
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
        self._listener = self._address = None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connected, _ = self._listener.accept()
        except OSError:
            # It has gone again, or there are no descriptors left for now.
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            connected.close()
            return
        assert self._address is not None
        assert self._render is not None
        host = self._address[0]
        self._connections.add(Connection(connected, self._selector, host, self._render, self._connections.discard))

    def _tell(self, message: str) -> None:
        if message != self._told:
            self._told = message
            _log.error("%s", message)


def _renderer(registry: CollectorRegistry) -> Render:
    import h11  # noqa: F401 # needed only when a request comes, but to be missed now
    from prometheus_client.exposition import choose_encoder

    def render(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return render


def _listen(host: str, port: int) -> socket.socket:
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_MOST_CONNECTIONS)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
