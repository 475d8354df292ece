"""Answers like Airflow's execution API, at once and without a database: `python -m benchmarks.fake_execution_api`.

It prints its port, and ends with its standard input. It knows what a task of `independent` that succeeds asks for.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_RUN = {
    "dag_run": {
        "dag_id": "independent",
        "run_id": "r",
        "logical_date": "2026-01-01T00:00:00Z",
        "data_interval_start": None,
        "data_interval_end": None,
        "run_after": "2026-01-01T00:00:00Z",
        "start_date": "2026-01-01T00:00:00Z",
        "end_date": None,
        "clear_number": 0,
        "run_type": "manual",
        "state": "running",
        "conf": {},
        "triggering_user_name": None,
        "consumed_asset_events": [],
        "partition_key": None,
    },
    "task_reschedule_count": 0,
    "max_tries": 0,
    "variables": [],
    "connections": [],
    "upstream_map_indexes": {},
    "next_method": None,
    "next_kwargs": None,
    "xcom_keys_to_clear": [],
    "should_retry": False,
}
_RUN_TEXT = json.dumps(_RUN).encode()
_OK_TEXT = b'{"message": "ok"}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together: else the client may wait for an acknowledgement that is put off.
    wbufsize = -1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def answer(self) -> None:
        """Answer whatever is asked."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/run"):
            status, content = 200, _RUN_TEXT
        elif self.path.endswith("/rtif") or "xcoms" in self.path:
            status, content = 201, _OK_TEXT
        else:
            status, content = 204, b""
        self.send_response(status)
        if content:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815 # the base class looks for these names


def main() -> int:
    """Serve until whoever started this is gone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    # Threads of connections that clients keep open would be waited for.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
