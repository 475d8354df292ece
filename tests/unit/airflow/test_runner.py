"""What a runner says and with which code it exits; no process is forked and no server asked."""

from __future__ import annotations

import base64
import gc
import json
import sys
import time
from types import SimpleNamespace

import pytest

from air_executor.airflow import compat, exit_codes, task_log
from air_executor.airflow import runner as runner_module
from air_executor.airflow.runner import WorkloadRunner
from air_executor.airflow.supervision import Supervision
from air_executor.process.protocol import Launch
from tests.unit.airflow.conftest import TOKEN, make_workload


class RefusedError(Exception):
    def __init__(self, status_code, detail="as the execution API says it", message="refused"):
        super().__init__(message)
        self.response = SimpleNamespace(status_code=status_code)
        self.detail = {"reason": "not_found"} if detail == "as the execution API says it" else detail


@pytest.fixture
def events(monkeypatch):
    found = []
    monkeypatch.setattr(runner_module.task_log, "append_event", lambda path, event: found.append((path, event)))
    return found


@pytest.fixture
def run(tmp_path, monkeypatch, events):
    supervision = Supervision(prompt=False)

    def run(effect, workload=None, text=None, *, has_started=False, goes_on_later=False):
        def act(workload, *, server, title):
            supervision.was_stopped_by_server = effect == "stopped"
            supervision.has_started, supervision.goes_on_later = has_started, goes_on_later
            if effect == "stopped":
                return -9
            if isinstance(effect, Exception):
                raise effect
            return effect

        monkeypatch.setattr(compat, "run_workload", act)
        path = tmp_path / "workload.json"
        path.write_text(text if text is not None else (workload or make_workload()).model_dump_json())
        launch = Launch(attempt_id="a/b/1", log_path="x", command="airflow-workload", workload_path=str(path))
        code = WorkloadRunner(supervision)(launch)
        assert not path.exists(), "it holds a token"
        return code

    return run


def make_token(expires_in_s):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + expires_in_s}).encode()).decode().rstrip("=")
    return f"header.{claims}.signature"


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (-9, 137)])
def test_the_supervisors_code_is_passed_on(run, code, expected):
    assert run(code) == expected


def test_a_task_that_the_server_stopped_is_told_from_one_that_was_killed(run):
    assert run("stopped") == exit_codes.STOPPED_BY_SERVER


@pytest.mark.parametrize("status_code", [404, 409, 410])
def test_a_changed_task_instance_is_superseded(run, events, status_code):
    assert run(RefusedError(status_code)) == exit_codes.SUPERSEDED
    assert events == []


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [(404, exit_codes.STOPPED_BY_SERVER), (410, exit_codes.STOPPED_BY_SERVER), (409, exit_codes.SUPERSEDED)],
)
def test_a_task_instance_that_went_while_it_ran_was_stopped(run, events, status_code, expected):
    # A cleared one waits for an event; one that was marked, or runs elsewhere, must get none.
    assert run(RefusedError(status_code), has_started=True) == expected
    assert events == []


@pytest.mark.parametrize("detail", [None, "Not Found", {"reason": "other"}])
@pytest.mark.parametrize("has_started", [True, False])
def test_a_wrong_url_is_no_task_instance_that_is_gone(run, events, detail, has_started):
    assert run(RefusedError(404, detail), has_started=has_started) == exit_codes.COULD_NOT_RUN
    assert "RefusedError" in events[0][1]


@pytest.mark.parametrize("effect", [0, 1, -11])
def test_what_becomes_of_a_process_whose_task_goes_on_later_is_no_failure(run, effect):
    assert run(effect, has_started=True, goes_on_later=True) == 0


def test_a_task_that_runs_already_is_superseded(run):
    error = type("TaskAlreadyRunningError", (Exception,), {})()
    assert run(error) == exit_codes.SUPERSEDED


def test_an_error_is_told_to_the_task_log_and_last_on_stderr(run, events, capsys):
    workload = make_workload()
    assert run(ConnectionError("API server is away"), workload) == exit_codes.COULD_NOT_RUN
    path, event = events[0]
    assert path == workload.log_path
    assert "ConnectionError: API server is away" in event
    assert capsys.readouterr().err.splitlines()[-1].startswith("air-executor: the workload could not be run")


def test_an_expired_token_is_named_as_that(run, events):
    workload = make_workload()
    workload.token = make_token(-700)
    run(RefusedError(401), workload)
    assert "token expired 700 s before it could start" in events[0][1]
    assert workload.token not in events[0][1]


def test_a_refused_token_that_is_not_expired_points_to_the_secret(run, events):
    workload = make_workload()
    workload.token = make_token(500)
    run(RefusedError(403), workload)
    assert "jwt_secret" in events[0][1]


def test_the_token_is_cut_out_of_any_error(run, events, capsys):
    run(ValueError(f"cannot use {TOKEN}"))
    assert TOKEN not in events[0][1]
    assert TOKEN not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"type": "ExecuteTask", "token": TOKEN}), "\0"])
def test_an_invalid_workload_is_described_without_its_contents(run, text, capsys):
    assert run(0, text=text) == exit_codes.UNREADABLE_WORKLOAD
    said = capsys.readouterr().err
    assert "is not valid" in said
    assert TOKEN not in said


def test_a_missing_workload_is_named(capsys):
    launch = Launch(attempt_id="a", log_path="x", command="x", workload_path="/nowhere/workload.json")
    assert WorkloadRunner(Supervision(prompt=False))(launch) == exit_codes.UNREADABLE_WORKLOAD
    assert "/nowhere/workload.json cannot be read" in capsys.readouterr().err


def test_garbage_is_collected_in_tasks(run):
    gc.disable()
    try:
        run(0)
        assert gc.isenabled()
    finally:
        gc.enable()


def test_generators_that_a_fork_would_share_get_new_seeds(run, monkeypatch):
    seeds = []
    monkeypatch.setitem(sys.modules, "numpy.random", SimpleNamespace(seed=lambda: seeds.append("new")))
    run(0)
    assert seeds == ["new"]


def test_numpys_generators_are_not_imported_to_be_seeded(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", object())
    monkeypatch.delitem(sys.modules, "numpy.random", raising=False)
    run(0)
    assert "numpy.random" not in sys.modules


def test_a_log_event_is_a_json_line(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    path = "dag_id=a/run_id=b/attempt=1.log"
    assert task_log.append_event(path, "first\nline")
    assert task_log.append_event(path, "second")
    events = [json.loads(line) for line in (tmp_path / path).read_text().splitlines()]
    assert [event["event"] for event in events] == ["first\nline", "second"]
    assert events[0]["level"] == "error"


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch):
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", "/proc/nowhere")
    assert not task_log.append_event("a.log", "text")
    assert not task_log.append_event(None, "text")


def test_the_tail_of_a_log_begins_with_a_whole_line(tmp_path):
    path = tmp_path / "attempt.log"
    path.write_text("first line\nsecond line\nthird\n")
    assert task_log.read_tail(path, 1000) == path.read_text()
    assert task_log.read_tail(path, 15) == "third\n"
    assert task_log.read_tail(tmp_path / "none", 20) == ""
