"""Runs the application with uvicorn, in this process, until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn

from air_executor.web.feeds import Feeds
from air_executor.web.route import Application

_GRACE_S = 5
_STOP = (signal.SIGINT, signal.SIGTERM)


def run_server(app: Application, feeds: Feeds, listener: socket.socket, max_connections: int) -> None:
    """Serve until SIGINT or SIGTERM; requests that are under way are answered, event streams end.

    :param max_connections: what comes beyond is answered with 503.
    """
    config = uvicorn.Config(
        app,
        # The same everywhere, whatever else is installed; h11 is strict, and bounds what a request may be.
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        limit_concurrency=max_connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_S,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
    )
    with _stopping_quietly():
        _Server(config, feeds).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, feeds: Feeds) -> None:
        super().__init__(config)
        self._feeds = feeds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; streams first, which would not end by themselves."""
        self._feeds.close()
        await super().shutdown(sockets)


@contextlib.contextmanager
def _stopping_quietly() -> Iterator[None]:
    # uvicorn raises the signal again when it has stopped: to be told to stop is no failure here.
    handlers = {number: signal.signal(number, lambda *_: None) for number in _STOP}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
