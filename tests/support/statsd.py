"""A StatsD server that only remembers what it was told."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import NamedTuple


class Report(NamedTuple):
    """One line: `airflow.name,tag=value:number|kind`."""

    name: str
    tags: dict[str, str]
    number: float
    kind: str


class StatsdListener:
    """Receives datagrams on a port of loopback, in a thread, until it is closed."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._receive, name="statsd", daemon=True)
        self._thread.start()

    def reports(self, prefix: str) -> list[Report]:
        """Return what was received so far of names that begin so."""
        return [report for report in map(_parse, list(self._lines)) if report.name.startswith(prefix)]

    def close(self) -> None:
        """Receive no more."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def _receive(self) -> None:
        while datagram := self._socket.recv(65536):
            self._lines += datagram.decode().splitlines()


def _parse(line: str) -> Report:
    name, _, rest = line.rpartition(":")
    name, *tags = name.split(",")
    number, kind, *_ = rest.split("|")
    return Report(name, dict(tag.split("=", 1) for tag in tags), float(number), kind)
