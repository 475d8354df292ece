from __future__ import annotations

from collections.abc import Callable

import pytest

from air_executor.web.app import make_app
from air_executor.web.feeds import Feeds
from tests.unit.web.conftest import Jobs, Site, ran

TOKEN = "canary-token-0123456789"
GOOD = {"Host": "127.0.0.1:8797", "Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def site(jobs: Jobs) -> Site:
    jobs.put("job", ran("task"), state="completed")
    return Site(make_app(jobs.client, Feeds(), {"127.0.0.1:8797", "jobs.example.org"}, TOKEN.encode()))


@pytest.fixture
def status(site: Site) -> Callable[..., int]:
    def ask(path: str = "/jobs", method: str = "GET", **headers: str) -> int:
        answer = site.ask(path, method, **{**GOOD, **headers})
        assert TOKEN not in answer.text
        assert TOKEN not in str(answer.headers)
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("access-control") or name == "set-cookie"]
        return answer.status_code

    return ask


PATHS = [
    "/jobs",
    "/jobs/job",
    "/jobs/job/progress",
    "/jobs/job/events",
    "/manager",
    "/docs",
    "/openapi.json",
    "/nothing",
    "/",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_token_name_and_origin(status: Callable[..., int], path: str) -> None:
    assert status(path) in (200, 404)
    assert status(path, Authorization="") == 401
    assert status(path, Host="evil.example.org") == 400
    assert status(path, Origin="http://evil.example.org") == 403
    assert status(path, "DELETE") == 405


@pytest.mark.parametrize(
    "authorization",
    [
        TOKEN,
        f"Basic {TOKEN}",
        f"bearer {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer  {TOKEN}",
        "Bearer ",
    ],
)
def test_other_tokens(status: Callable[..., int], authorization: str) -> None:
    assert status(Authorization=authorization) == 401


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:80", "127.0.0.1:8797.evil", "evil@127.0.0.1:8797", "localhost:8797", ""]
)
def test_other_names(status: Callable[..., int], host: str) -> None:
    assert status(Host=host) == 400


@pytest.mark.parametrize("header", ["Host", "Authorization"])
def test_what_is_said_twice_is_not_believed(site: Site, header: str) -> None:
    good = [(key, value) for key, value in GOOD.items() if key != header]

    for pair in (GOOD[header], "other"), ("other", GOOD[header]), (GOOD[header], GOOD[header]):
        assert site.ask("/jobs", "GET", *good, *((header, value) for value in pair)).status_code in (400, 401)


def test_names_that_are_allowed(status: Callable[..., int]) -> None:
    assert status(Host="JOBS.example.org") == 200


@pytest.mark.parametrize(
    "origin", ["null", "http://127.0.0.1", "http://127.0.0.1:8798", "file://", "http://jobs.example.org.evil", ""]
)
def test_other_origins(status: Callable[..., int], origin: str) -> None:
    assert status(Origin=origin) == 403


def test_its_own_origin(status: Callable[..., int]) -> None:
    assert status(Origin="http://127.0.0.1:8797") == 200
    assert status(Origin="https://jobs.example.org") == 200


@pytest.mark.parametrize(
    ("site_", "expected"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_what_a_browser_tells_of_the_page_that_asks(status: Callable[..., int], site_: str, expected: int) -> None:
    assert status(Sec_Fetch_Site=site_) == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_it_is_read_only(status: Callable[..., int], method: str) -> None:
    assert status("/jobs/job", method) == 405


def test_requests_are_small(status: Callable[..., int]) -> None:
    assert status(X="a" * 20_000) == 431
    assert status("/jobs?q=" + "a" * 20_000) == 431
    assert status(Content_Length="1") == 413
    assert status(Transfer_Encoding="chunked") == 413


def test_no_token_where_the_socket_is_ones_own(jobs: Jobs) -> None:
    site = Site(make_app(jobs.client, Feeds(), {"localhost"}, None))

    assert site.ask("/jobs", Host="localhost").status_code == 200
    assert site.ask("/jobs", Host="localhost", Origin="http://evil").status_code == 403


def test_the_page_that_tells_of_it_needs_nothing_from_elsewhere(site: Site) -> None:
    page = site.ask("/docs", **GOOD)

    assert page.headers["content-type"].startswith("text/plain")
    assert "GET /jobs/{name}/progress" in page.text
    assert "http" not in page.text
