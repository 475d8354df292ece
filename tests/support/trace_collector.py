"""A collector of OpenTelemetry that only remembers what it was sent over HTTP."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class TraceCollector:
    """Answers on a port of loopback, in threads, until it is closed."""

    def __init__(self) -> None:
        received: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="collector", daemon=True)
        self._thread.start()
        self.port: int = self._server.server_port
        self.config = {"traces": {"otel_on": "True", "otel_host": "127.0.0.1", "otel_port": str(self.port)}}
        """Options of airflow.cfg that have Airflow send its traces here."""
        self.environment = {
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{self.port}/v1/traces",
        }
        """Variables that do so from 3.3 on."""

    def has_span(self, name: str) -> bool:
        """Claim that a span of this name has come."""
        return any(name.encode() in each for each in list(self._received))

    def close(self) -> None:
        """Receive no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
