"""The metrics endpoint over real sockets, served by a loop as the manager's is."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")

from prometheus_client import CollectorRegistry, Gauge

from air_executor.manager import metrics_connection
from air_executor.manager.metrics_endpoint import MetricsEndpoint
from tests.support.ports import free_port
from tests.support.waiting import wait_until

ASK = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Loop:
    """The part of the manager's loop that serves the endpoint."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.registry = CollectorRegistry()
        self.endpoint = MetricsEndpoint(self.selector, lambda: self.registry)
        self.port = free_port()

    def open(self) -> None:
        self.endpoint.apply("127.0.0.1", self.port)

    def turn(self) -> None:
        for key, _ in self.selector.select(0):
            key.data()

    def connect(self, content: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setblocking(False)
        client.sendall(content)
        return client

    def read(self, client: socket.socket) -> bytes:
        """Return all that comes until the other side closes."""
        received: list[bytes] = []

        def has_ended() -> bool:
            self.turn()
            with contextlib.suppress(BlockingIOError):
                while chunk := client.recv(65536):
                    received.append(chunk)
                return True
            return False

        wait_until(has_ended, what="the end of the answer", interval_s=0.001)
        client.close()
        return b"".join(received)

    def ask(self, content: bytes = ASK) -> bytes:
        return self.read(self.connect(content))


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    Gauge("of_a_test", "A number.", registry=loop.registry).set(7)
    loop.open()
    yield loop
    loop.endpoint.close()
    loop.selector.close()


def test_it_serves_what_the_registry_holds(loop: Loop) -> None:
    head, _, body = loop.ask().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in head.lower()
    assert b"of_a_test 7.0\n" in body
    assert loop.endpoint.url == f"http://127.0.0.1:{loop.port}/metrics"


def test_a_request_may_come_byte_by_byte(loop: Loop) -> None:
    client = loop.connect()
    for position in range(len(ASK)):
        client.sendall(ASK[position : position + 1])
        loop.turn()
    assert b"of_a_test 7.0" in loop.read(client)


def test_an_answer_longer_than_the_sockets_buffers_arrives_whole(loop: Loop) -> None:
    wide = Gauge("wide", "Many numbers.", ["which"], registry=loop.registry)
    for number in range(60_000):
        wide.labels(f"{number:0100d}").set(number)
    client = loop.connect(ASK)
    for _ in range(10):
        loop.turn()
    answer = loop.read(client)
    assert len(answer) > 5_000_000
    assert answer.endswith(b"59999.0\n")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    ],
)
def test_what_is_not_for_it_is_refused(loop: Loop, content: bytes, status: int) -> None:
    answer = loop.ask(content)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"of_a_test" not in answer


def test_who_goes_away_or_says_nothing_holds_nobody_up(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_connection, "_PATIENCE_S", 60.0)
    silent, gone = loop.connect(), loop.connect(ASK)
    gone.close()
    assert b"of_a_test 7.0" in loop.ask()
    due = loop.endpoint.next_due()
    assert due is not None
    loop.endpoint.drop_slow(due - 1)
    assert loop.endpoint.next_due() is not None
    loop.endpoint.drop_slow(due + 60)
    assert loop.endpoint.next_due() is None
    assert loop.read(silent) == b""


def test_no_more_connections_are_held_than_a_few(loop: Loop) -> None:
    # Each is accepted before the next comes: the queue of a listening socket is short.
    silent = []
    for _ in range(20):
        silent.append(loop.connect())
        loop.turn()
    assert loop.read(silent.pop()) == b""
    for each in silent:
        each.close()
    wait_until(lambda: (loop.turn(), loop.endpoint.next_due())[1] is None, what="no connection")
    assert b"of_a_test 7.0" in loop.ask()


def test_a_port_in_use_is_told_once_and_tried_again(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    other = Loop()
    other.port = loop.port
    with caplog.at_level(logging.ERROR):
        other.open()
        other.open()
    assert caplog.text.count("Address already in use") == 1
    assert f"127.0.0.1:{loop.port}" in caplog.text
    assert other.endpoint.url is None
    loop.endpoint.close()
    other.open()
    assert other.endpoint.url is not None
    other.endpoint.close()


def test_other_settings_move_it_and_none_close_it(loop: Loop) -> None:
    first, loop.port = loop.port, free_port()
    loop.open()
    assert b"of_a_test 7.0" in loop.ask()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    loop.endpoint.apply("127.0.0.1", None)
    assert loop.endpoint.url is None
    with pytest.raises(ConnectionRefusedError):
        loop.connect()


@pytest.mark.parametrize("package", ["prometheus_client", "h11"])
def test_a_missing_package_is_told_with_the_remedy(
    package: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop()

    def make_registry() -> CollectorRegistry:
        from prometheus_client import CollectorRegistry

        return CollectorRegistry()

    endpoint = MetricsEndpoint(loop.selector, make_registry)
    monkeypatch.setitem(sys.modules, package, None)
    with caplog.at_level(logging.ERROR):
        endpoint.apply("127.0.0.1", loop.port)
    assert package in caplog.text
    assert "air-executor[metrics]" in caplog.text
    assert endpoint.url is None
