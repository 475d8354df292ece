from __future__ import annotations

import os
import selectors
import socket

import httpx
import pytest
from airflow.sdk.api import client
from airflow.utils.state import TaskInstanceState

from air_executor.airflow import compat, prompt_exit
from air_executor.airflow.supervision import Supervision

ENDLESS = 3600


@pytest.fixture
def supervised_class(monkeypatch):
    class Supervised:
        """The part of Airflow's supervisor that matters here."""

        def __init__(self, pid):
            self.pid = pid
            self.selector = selectors.DefaultSelector()
            self.rounds = 0
            self.reaped = 0

        def _monitor_subprocess(self):
            while self.rounds < 3 and self.selector.get_map():
                for key, _ in self.selector.select(timeout=ENDLESS):
                    handler, on_close = key.data
                    if not handler(key.fileobj):
                        on_close(key.fileobj)
                        key.fileobj.close()
                if not self.reaped:
                    self.reaped = os.waitpid(self.pid, os.WNOHANG)[0]
                self.rounds += 1

    monkeypatch.setattr(compat, "find_supervised_classes", lambda: [Supervised])
    return Supervised


@pytest.fixture
def ended_pid():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def test_the_end_of_the_process_wakes_the_supervisor(supervised_class, ended_pid):
    assert Supervision(prompt=True).install() == ("Supervised",)
    supervised = supervised_class(ended_pid)
    supervised._monitor_subprocess()
    assert supervised.reaped == ended_pid


def test_a_socket_that_is_held_open_does_not_make_it_sleep(supervised_class, ended_pid):
    Supervision(prompt=True).install()
    supervised = supervised_class(ended_pid)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        supervised.selector.register(ours, selectors.EVENT_READ, (lambda _: True, lambda _: None))
        supervised._monitor_subprocess()
    assert supervised.rounds == 3


def test_installing_twice_changes_nothing(supervised_class):
    Supervision(prompt=True).install()
    once = supervised_class._monitor_subprocess
    assert Supervision(prompt=True).install() == ()
    assert supervised_class._monitor_subprocess is once


@pytest.mark.parametrize("prompt", [True, False])
def test_without_a_process_to_watch_nothing_is_changed(supervised_class, prompt):
    Supervision(prompt=prompt).install()
    supervised = supervised_class(pid=2**30)
    supervised._monitor_subprocess()
    assert not supervised.selector.get_map()


def test_a_class_without_the_method_is_left_alone(monkeypatch):
    monkeypatch.setattr(compat, "find_supervised_classes", lambda: [type("Other", (), {})])
    assert Supervision(prompt=True).install() == ()


@pytest.mark.parametrize(("state", "expected"), [("SERVER_TERMINATED", True), ("failed", False), (None, False)])
def test_it_learns_that_the_server_stopped_the_task(supervised_class, state, expected):
    supervision = Supervision(prompt=False)
    supervision.install()
    supervised = supervised_class(pid=1)
    supervised._terminal_state = state
    supervised._monitor_subprocess()
    assert supervision.was_stopped_by_server is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (TaskInstanceState.DEFERRED, True),
        (TaskInstanceState.UP_FOR_RESCHEDULE, True),
        ("up_for_retry", False),
        (None, False),
    ],
)
def test_it_learns_that_the_task_goes_on_later(supervised_class, state, expected):
    supervision = Supervision(prompt=False)
    supervision.install()
    assert not supervision.has_started
    supervised = supervised_class(pid=1)
    supervised._terminal_state = state
    supervised._monitor_subprocess()
    assert (supervision.has_started, supervision.goes_on_later) == (True, expected)


def test_an_error_tells_nothing_of_what_the_server_knows(supervised_class, monkeypatch):
    def fail(_):
        raise ConnectionError("API server is away")

    monkeypatch.setattr(supervised_class, "_monitor_subprocess", fail)
    supervision = Supervision(prompt=False)
    supervision.install()
    supervised = supervised_class(pid=1)
    # As 3.1 does, before it asks the server.
    supervised._terminal_state = TaskInstanceState.DEFERRED
    with pytest.raises(ConnectionError):
        supervised._monitor_subprocess()
    assert (supervision.has_started, supervision.goes_on_later) == (True, False)


def refuse(path, answer):
    """Return the error that Airflow's client raises for an answer of the execution API."""
    request = httpx.Request("PATCH", f"http://localhost/execution/{path}")
    response = httpx.Response(404, json=answer, headers={"content-type": "application/json"}, request=request)
    return client.ServerResponseError.from_response(response)


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        ("task-instances/one/state", {"detail": {"reason": "not_found", "message": "no such"}}, True),
        ("task-instances/other/state", {"detail": {"reason": "not_found", "message": "no such"}}, False),
        ("xcoms/a/b/c/return_value", {"detail": {"reason": "not_found", "message": "no such"}}, False),
        ("task-instances/one/state", {"detail": "Not Found"}, False),
    ],
)
def test_it_learns_that_the_task_instance_is_gone_from_any_request_about_it(
    supervised_class, monkeypatch, path, answer, expected
):
    def handle(self, message, log, req_id):
        raise refuse(path, answer)

    monkeypatch.setattr(supervised_class, "_handle_request", handle, raising=False)
    supervision = Supervision(prompt=False)
    supervision.install()
    supervised = supervised_class(pid=1)
    supervised.id = "one"
    with pytest.raises(client.ServerResponseError):
        supervised._handle_request("message", None, req_id=1)
    supervised._monitor_subprocess()
    assert supervision.was_stopped_by_server is expected


def test_the_start_counts_as_the_first_heartbeat(supervised_class):
    Supervision(prompt=True).install()
    supervised = supervised_class(pid=2**30)
    supervised._last_successful_heartbeat, supervised._last_heartbeat_attempt = 123.0, 0
    supervised._monitor_subprocess()
    assert supervised._last_heartbeat_attempt == 123.0


def test_airflows_own_classes_have_what_is_expected():
    from airflow.sdk.execution_time import supervisor

    classes = compat.find_supervised_classes()
    assert classes
    assert all("_monitor_subprocess" in supervised.__dict__ for supervised in classes)
    assert "_handle_request" in supervisor.ActivitySubprocess.__dict__
    assert supervisor.SERVER_TERMINATED == "SERVER_TERMINATED"
    assert supervisor.SOCKET_CLEANUP_TIMEOUT > 0


def test_patience_is_only_ever_shortened():
    module = type("Module", (), {"SOCKET_CLEANUP_TIMEOUT": 0.1})
    prompt_exit.shorten_patience(module)
    assert module.SOCKET_CLEANUP_TIMEOUT == 0.1
    module.SOCKET_CLEANUP_TIMEOUT = 60.0
    prompt_exit.shorten_patience(module)
    assert module.SOCKET_CLEANUP_TIMEOUT == 1.0
    prompt_exit.shorten_patience(None)
