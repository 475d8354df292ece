"""Answers the requests of a rehearsal as Airflow's API server would, in this process: there is no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx
from airflow.sdk.api import client
from airflow.sdk.api.datamodels._generated import DagRun

from air_executor.airflow.rehearsal_stage import replaced

NOWHERE = "http://127.0.0.1:1/"

_MOMENT = "2000-01-01T00:00:00Z"
_RUN_CONTEXT: dict[str, Any] = {
    "dag_run": {
        "dag_id": "air_executor_rehearsal",
        "run_id": "rehearsal",
        "logical_date": _MOMENT,
        "data_interval_start": _MOMENT,
        "data_interval_end": _MOMENT,
        "run_after": _MOMENT,
        "start_date": _MOMENT,
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
_HEAD = "HTTP/1.1 {status}\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\nserver: uvicorn\r\n{type}content-length: {length}\r\n\r\n"


@contextmanager
def connected_client() -> Iterator[Any]:
    """Yield a client of the execution API whose requests are answered here.

    :raises RuntimeError: this httpx lets nobody in between.
    """
    # To verify nobody is a matter of microseconds, a TLS context one of 20 ms.
    transport = httpx.HTTPTransport(verify=False)
    if not isinstance(getattr(transport, "_pool", None), httpcore.ConnectionPool):
        raise RuntimeError("httpx keeps its connections elsewhere")
    transport._pool = httpcore.ConnectionPool(network_backend=_Backend())
    # With a transport of its own a client does not look for proxies either.
    # What requests say of this host may take a look into the network, or a function of the site.
    with (
        replaced(client, get_hostname=lambda: "localhost"),
        client.Client(base_url=NOWHERE, token="", transport=transport) as connected,
    ):
        yield connected


class _Backend(httpcore.NetworkBackend):
    """Connects to nothing."""

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        return _Stream()


class _Stream(httpcore.NetworkStream):
    """A connection of which this process is both ends. Its methods are called by these names of their arguments."""

    def __init__(self) -> None:
        self._asked = bytearray()

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._asked += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        asked, self._asked = self._asked, bytearray()
        return _answer(bytes(asked.partition(b"\r\n")[0]).decode())

    def close(self) -> None:
        self._asked.clear()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        # Above all not readable: that is how a connection shows that the server has closed it.
        return None


def _answer(request_line: str) -> bytes:
    method, path = request_line.split()[:2]
    if path.endswith("/run"):
        return _make_response("200 OK", _RUN_CONTEXT | {"dag_run": _make_dag_run()})
    if "/xcoms/" in path and method == "GET":
        return _make_response("200 OK", {"key": "return_value", "value": 1})
    if path.endswith("/rtif") or "/xcoms/" in path:
        return _make_response("201 Created", {"message": "ok"})
    return _make_response("204 No Content", None)


def _make_dag_run() -> dict[str, Any]:
    # One version demands what another refuses.
    return {name: value for name, value in _RUN_CONTEXT["dag_run"].items() if name in DagRun.model_fields}


def _make_response(status: str, content: Any) -> bytes:
    body = b"" if content is None else json.dumps(content).encode()
    kind = "" if content is None else "content-type: application/json\r\n"
    return _HEAD.format(status=status, type=kind, length=len(body)).encode() + body
