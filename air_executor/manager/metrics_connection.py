"""One connection to the metrics endpoint: a request, its answer, the end. Never blocks the manager's loop; h11 speaks HTTP."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from air_executor.manager.metrics_page import Render, answer

if TYPE_CHECKING:
    import h11

_log = logging.getLogger(__name__)

_MOST_HEAD_BYTES = 8192
_PATIENCE_S = 5.0
"""A connection is closed after this long, whatever it is doing."""
_CHUNK_BYTES = 65536


class Connection:
    """One request and its answer; then it is closed."""

    def __init__(
        self,
        connected: socket.socket,
        selector: selectors.BaseSelector,
        bound_host: str,
        render: Render,
        forget: Callable[[Connection], None],
    ) -> None:
        import h11

        connected.setblocking(False)
        self.deadline = time.monotonic() + _PATIENCE_S
        self._socket = connected
        self._selector = selector
        self._bound_host = bound_host
        self._render = render
        self._forget = forget
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD_BYTES)
        self._unsent = b""
        self._has_answered = self._is_closed = False
        selector.register(connected, selectors.EVENT_READ, self._go_on)

    def close(self) -> None:
        """Close it, whatever it is doing; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._selector.unregister(self._socket)
            self._socket.close()
            self._forget(self)

    def _go_on(self) -> None:
        if self._is_closed:
            return
        try:
            if self._unsent:
                self._send()
            else:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            # The other side has gone; an OSError in the manager's loop would mean its disk.
            self.close()
        except Exception:
            # Whatever a request brings about, it must not end the manager.
            _log.exception("a request for metrics could not be answered")
            self.close()

    def _receive(self) -> None:
        received = self._socket.recv(_CHUNK_BYTES)
        if not received:
            self.close()
        elif not self._has_answered:
            # What follows on a request is read and dropped: closed at once, the kernel would drop the answer instead.
            self._take(received)

    def _take(self, received: bytes) -> None:
        import h11

        try:
            self._protocol.receive_data(received)
            event = self._protocol.next_event()
        except h11.RemoteProtocolError as error:
            self._answer(error.error_status_hint, "text/plain", b"this is no HTTP request\n")
            return
        if isinstance(event, h11.Request):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            method, target = event.method.decode("latin-1"), event.target.decode("latin-1")
            status, content_type, body = answer(method, target, headers, self._bound_host, self._render)
            self._answer(status, content_type, body if method != "HEAD" else b"")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        import h11

        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
            **({"Allow": "GET"} if status == 405 else {}),
        }
        events: list[h11.Event] = [
            h11.Response(status_code=status, headers=list(headers.items()), reason=HTTPStatus(status).phrase.encode()),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        self._has_answered = True
        self._unsent = b"".join(self._protocol.send(event) or b"" for event in events)
        self._send()

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._selector.modify(self._socket, selectors.EVENT_WRITE, self._go_on)
            return
        self._selector.modify(self._socket, selectors.EVENT_READ, self._go_on)
        self._socket.shutdown(socket.SHUT_WR)
