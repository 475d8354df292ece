from __future__ import annotations

import pytest

from air_executor.core.addresses import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "example.org", "127.0.0.1.example.org", "", "2130706433"]
)
def test_what_others_may_reach(host: str) -> None:
    assert not is_loopback(host)
