"""A task is rehearsed from start to end, and nobody hears of it."""

from __future__ import annotations

import gc
import io
import logging
import os
import socket
import subprocess
import sys
import warnings

import pytest
import structlog
from airflow.sdk import log as sdk_log
from airflow.sdk._shared.secrets_masker import _secrets_masker
from airflow.sdk.execution_time import supervisor, task_runner

from air_executor.airflow import preload, rehearsal, rehearsal_server, rehearsal_task
from air_executor.airflow.process_state import ProcessState, count_threads


@pytest.fixture(autouse=True)
def logging_of_a_warm_parent(monkeypatch):
    """Logging as it is when the rehearsal begins."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    config = structlog.get_config()
    loggers = [logging.root, *(logging.getLogger(name) for name in ("airflow", "httpx", "sqlalchemy.engine"))]
    kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    sdk_log.configure_logging.__wrapped__(json_output=True, output=io.BytesIO())
    yield
    sdk_log.reset_logging()
    structlog.configure(**config)
    for logger, handlers, level, propagate in kept:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def once(monkeypatch):
    """One task instead of nine."""
    monkeypatch.setattr(rehearsal, "ROUNDS", 1)
    monkeypatch.setattr(rehearsal_task, "TASK_IDS", ("python",))


@pytest.fixture
def requests(monkeypatch):
    """What the server was asked, one line for each request."""
    asked = []
    answer = rehearsal_server._answer

    def note(line):
        method, path = line.split()[:2]
        asked.append(f"{method} {path.partition('?')[0].rpartition('/')[2]}")
        return answer(line)

    monkeypatch.setattr(rehearsal_server, "_answer", note)
    return asked


def forbid(monkeypatch, owner, *names):
    def refuse(*_, **__):
        raise AssertionError(f"{names} of {owner} was called")

    for name in names:
        monkeypatch.setattr(owner, name, refuse)


def test_each_task_starts_runs_and_succeeds(requests, monkeypatch):
    monkeypatch.setattr(rehearsal, "ROUNDS", 1)
    rehearsal_task.rehearse_task()
    assert requests.count("PATCH run") == requests.count("PATCH state") == len(rehearsal_task.TASK_IDS)
    assert "PUT rtif" in requests
    assert [line for line in requests if line.startswith("POST return_value")]


def test_the_process_is_as_before(once, monkeypatch):
    forbid(monkeypatch, socket.socket, "connect")
    forbid(monkeypatch, subprocess, "Popen")
    # What is loaded lazily stays loaded, as it may.
    rehearsal_task.rehearse_task()
    state, threads, modules = ProcessState.take(), count_threads(), set(sys.modules)
    context, config = dict(structlog.contextvars.get_contextvars()), structlog.get_config()
    descriptors = sorted(os.listdir("/proc/self/fd"))
    rehearsal_task.rehearse_task()
    assert state.find_objection() is None
    assert sorted(os.listdir("/proc/self/fd")) == descriptors
    assert count_threads() == threads
    assert set(sys.modules) == modules
    assert structlog.contextvars.get_contextvars() == context == {}
    assert structlog.get_config() == config
    assert not hasattr(task_runner, "SUPERVISOR_COMMS")


def test_secrets_and_their_backends_are_left_alone(once, monkeypatch):
    forbid(monkeypatch, supervisor, "ensure_secrets_backend_loaded")
    masker = _secrets_masker()
    patterns = set(masker.patterns)
    rehearsal_task.rehearse_task()
    assert masker.patterns == patterns
    assert not supervisor._REMOTE_LOGGING_CONN_CACHE


def test_title_and_dumpability_are_left_alone(once, monkeypatch):
    setproctitle = pytest.importorskip("setproctitle")
    forbid(monkeypatch, setproctitle, "setproctitle")
    if hasattr(supervisor, "_make_process_nondumpable"):
        forbid(monkeypatch, supervisor, "_make_process_nondumpable")
    rehearsal_task.rehearse_task()


def test_no_listener_metric_or_host_name_is_asked_for(once, monkeypatch):
    forbid(monkeypatch, task_runner, "get_listener_manager", "get_hostname", "DagBundlesManager")
    for name in ("stats", "Stats"):
        if hasattr(task_runner, name):
            monkeypatch.setattr(task_runner, name, None)
    rehearsal_task.rehearse_task()


def test_the_xcom_backend_of_a_site_is_not_used(once, requests, monkeypatch):
    class Backend(task_runner.BaseXCom):
        pass

    forbid(monkeypatch, Backend, "set", "serialize_value")
    monkeypatch.setattr(task_runner, "XCom", Backend)
    rehearsal_task.rehearse_task()
    assert not [line for line in requests if line.startswith("POST")]
    assert "PATCH state" in requests


def test_the_variables_of_a_site_are_not_made(once, monkeypatch):
    from airflow import settings

    monkeypatch.setattr(settings, "get_airflow_context_vars", None)
    rehearsal_task.rehearse_task()


@pytest.mark.parametrize(
    "observe",
    [
        lambda patch: patch(sdk_log, "load_remote_log_handler", lambda: type("Remote", (), {"processors": (len,)})()),
        lambda patch: patch(task_runner, "Sentry", type("ConfiguredSentry", (), {})()),
    ],
    ids=["log lines are sent away", "errors are sent away"],
)
def test_where_others_would_be_told_nothing_is_rehearsed(observe, requests, monkeypatch):
    observe(lambda owner, name, value: monkeypatch.setattr(owner, name, value, raising=False))
    rehearsal_task.rehearse_task()
    assert requests == []


def test_a_server_that_refuses_ends_the_rehearsal_and_signals_nobody(once, monkeypatch):
    forbid(monkeypatch, os, "kill", "killpg")
    monkeypatch.setattr(rehearsal_server, "_answer", lambda _: b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}")
    state = ProcessState.take()
    with pytest.raises(Exception, match=r"409|Conflict|running|Server"):
        rehearsal_task.rehearse_task()
    # What failed is held by the error's frames.
    gc.collect()
    assert state.find_objection() is None
    assert not hasattr(task_runner, "SUPERVISOR_COMMS")


def test_a_policy_that_refuses_the_dag_is_an_ordinary_error(once, monkeypatch):
    monkeypatch.setattr(rehearsal, "_DAG_FILE", "")
    with pytest.raises(rehearsal_task.RehearsalError, match="policy"):
        rehearsal_task.rehearse_task()


def test_a_supervisor_that_does_not_answer_is_given_up(once, monkeypatch):
    monkeypatch.setattr(rehearsal_task, "_PATIENCE", 2)
    monkeypatch.setattr(supervisor.ActivitySubprocess, "_handle_request", lambda *_: None)
    with pytest.raises(rehearsal_task.RehearsalError):
        rehearsal_task.rehearse_task()


def test_a_failing_rehearsal_stops_no_warm_parent(monkeypatch, capsys):
    monkeypatch.setattr(rehearsal_task, "rehearse_task", lambda: 1 / 0)
    preload._try("rehearse a task", preload._rehearse_task)
    assert "could not rehearse a task: ZeroDivisionError" in capsys.readouterr().err


def test_logging_is_rehearsed_without_hooks():
    sdk_log.reset_logging()
    excepthook, showwarning = sys.excepthook, warnings.showwarning
    rehearsal.rehearse_logging()
    assert sys.excepthook is excepthook
    assert warnings.showwarning is showwarning
