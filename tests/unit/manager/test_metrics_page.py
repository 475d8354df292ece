"""Whom the metrics endpoint answers, and what."""

from __future__ import annotations

import logging

import pytest

from air_executor.manager import metrics_page
from air_executor.manager.metrics_page import Answer, answer, is_own_host


def render(accept: str) -> tuple[bytes, str]:
    return b"metrics 1\n", f"for {accept}"


def ask(method: str = "GET", target: str = "/metrics", bound_host: str = "127.0.0.1", **headers: str) -> Answer:
    return answer(method, target, {"host": "localhost:9464", **headers}, bound_host, render)


def test_metrics_are_returned_in_the_format_that_is_asked_for() -> None:
    assert ask(accept="text/plain") == Answer(200, "for text/plain", b"metrics 1\n")
    assert ask(target="/metrics?a=b").status == 200


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("POST", "/metrics", {}, 405),
        ("HEAD", "/metrics", {}, 405),
        ("DELETE", "/metrics", {}, 405),
        ("GET", "/", {}, 404),
        ("GET", "/metrics/../jobs", {}, 404),
        ("GET", "http://localhost/metrics", {}, 404),
        ("GET", "/metrics", {"origin": "http://localhost:9464"}, 403),
        ("GET", "/metrics", {"host": "evil.example"}, 403),
        ("DELETE", "/metrics", {"host": "evil.example"}, 403),
        ("GET", "/metrics", {"host": ""}, 403),
    ],
)
def test_all_else_is_refused(method: str, target: str, headers: dict[str, str], status: int) -> None:
    refused = ask(method, target, **headers)
    assert refused.status == status
    assert b"metrics 1" not in refused.body


def test_an_error_while_collecting_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(accept: str) -> tuple[bytes, str]:
        raise RuntimeError("canary")

    with caplog.at_level(logging.ERROR):
        failed = answer("GET", "/metrics", {"host": "localhost"}, "127.0.0.1", fail)
    assert failed.status == 500
    assert b"canary" not in failed.body
    assert "canary" in caplog.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.8.9.1", "[::1]:9464", "[::1]"])
def test_loopback_is_known_by_its_names(host: str) -> None:
    assert is_own_host(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":9464",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.5",
        "0.0.0.0",
        "[::2]",
        "[",
        "here",
    ],
)
def test_on_loopback_nothing_else_is(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "_machine", lambda: "here")
    assert not is_own_host(host, "127.0.0.1")


@pytest.mark.parametrize("host", ["10.0.0.5:9464", "[fd00::1]:9464", "here:9464", "metrics.internal", "localhost"])
def test_elsewhere_addresses_and_names_of_its_own_are_known(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "_machine", lambda: "here")
    assert is_own_host(host, "metrics.internal")


def test_elsewhere_a_foreign_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_page, "_machine", lambda: "here")
    assert not is_own_host("evil.example", "0.0.0.0")
