"""Whether a thread gets a CPU when it wants one, by what Linux says of it."""

from __future__ import annotations

import sys

import pytest

from air_executor.airflow import cpu_wait
from air_executor.airflow.cpu_wait import CpuWait


@pytest.fixture
def say(tmp_path, monkeypatch):
    path = tmp_path / "schedstat"
    monkeypatch.setattr(cpu_wait, "_PATH", str(path))
    path.write_text("1000 900 5\n")
    return path.write_text


def test_it_counts_from_the_last_look(say):
    wait = CpuWait()
    say("2000 1000 6\n")
    assert not wait.was_long()
    say("2100 1200 7\n")
    assert wait.was_long()
    assert not wait.was_long()


@pytest.mark.parametrize("text", ["", "many words here\n", "1 2\n"])
def test_where_the_system_does_not_tell_it_was_not_long(say, text):
    say(text)
    wait = CpuWait()
    say("10 900 1\n")
    wait.was_long()
    say(text)
    assert not wait.was_long()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_linux_tells():
    assert cpu_wait._read() > (0, 0)
