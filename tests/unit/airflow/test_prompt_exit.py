from __future__ import annotations

import os
import selectors

import pytest

from air_executor.airflow import compat, prompt_exit


@pytest.fixture
def supervised_class(monkeypatch):
    class Supervised:
        def __init__(self, pid):
            self.pid = pid
            self.selector = selectors.DefaultSelector()
            self.seen = []

        def _monitor_subprocess(self):
            for key, _ in self.selector.select(timeout=60):
                handler, on_close = key.data
                assert not handler(key.fileobj)
                on_close(key.fileobj)
                key.fileobj.close()
                self.seen.append(os.waitpid(self.pid, os.WNOHANG)[0])

    monkeypatch.setattr(compat, "find_supervised_classes", lambda: [Supervised])
    return Supervised


def test_the_end_of_the_process_wakes_the_supervisor(supervised_class):
    assert prompt_exit.install() == ("Supervised",)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    supervised = supervised_class(pid)
    supervised._monitor_subprocess()
    assert supervised.seen == [pid]
    assert not supervised.selector.get_map()


def test_installing_twice_changes_nothing(supervised_class):
    prompt_exit.install()
    once = supervised_class._monitor_subprocess
    assert prompt_exit.install() == ()
    assert supervised_class._monitor_subprocess is once


def test_a_process_that_cannot_be_watched_is_watched_as_airflow_does(supervised_class):
    prompt_exit.install()
    supervised = supervised_class(pid=2**30)
    supervised.selector.close()
    supervised.selector = selectors.SelectSelector()
    supervised.selector.select = lambda timeout: []
    supervised._monitor_subprocess()
    assert supervised.seen == []


def test_a_class_without_the_method_is_left_alone(monkeypatch):
    monkeypatch.setattr(compat, "find_supervised_classes", lambda: [type("Other", (), {})])
    assert prompt_exit.install() == ()


def test_airflows_own_classes_have_what_is_expected():
    classes = compat.find_supervised_classes()
    assert classes
    assert all("_monitor_subprocess" in supervised.__dict__ for supervised in classes)


def test_the_start_counts_as_the_first_heartbeat(supervised_class):
    prompt_exit.install()
    supervised = supervised_class(pid=2**30)
    supervised.selector.close()
    supervised._last_successful_heartbeat, supervised._last_heartbeat_attempt = 123.0, 0
    supervised.selector = selectors.SelectSelector()
    supervised.selector.select = lambda timeout: []
    supervised._monitor_subprocess()
    assert supervised._last_heartbeat_attempt == 123.0
