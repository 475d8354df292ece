from __future__ import annotations

import pytest

from air_executor.airflow import exit_codes
from air_executor.airflow.outcome import Verdict, judge, make_lost_outcome
from air_executor.core.events import Outcome
from air_executor.core.states import JobState, TaskStatus
from tests.unit.airflow.conftest import FakeJobView, FakeTaskView


def end(state=JobState.FAILED, error=None, output="", **fields):
    fields.setdefault("status", TaskStatus.FAILED)
    return judge(FakeJobView("job", {}, state, error), FakeTaskView(**fields), output)


def test_a_completed_job_is_a_success():
    assert end(JobState.COMPLETED, exit_code=0, status=TaskStatus.COMPLETED).verdict is Verdict.SUCCEEDED


def test_a_superseded_workload_is_neither_success_nor_failure():
    assert end(exit_code=exit_codes.SUPERSEDED, outcome=Outcome.FAILED).verdict is Verdict.SUPERSEDED


def test_a_stopped_task_is_no_failure_of_its_own():
    found = end(exit_code=exit_codes.STOPPED_BY_SERVER, outcome=Outcome.FAILED)
    assert found.verdict is Verdict.STOPPED
    assert "marked, cleared or deleted" in found.reason


def test_what_could_not_run_is_told_in_the_runners_words():
    found = end(
        exit_code=exit_codes.COULD_NOT_RUN, outcome=Outcome.FAILED, output="noise\nair-executor: token expired\n"
    )
    assert found.reason == "Job job: air-executor: token expired"
    assert found.is_in_task_log


def test_an_unreadable_workload_is_not_in_the_task_log_yet():
    found = end(exit_code=exit_codes.UNREADABLE_WORKLOAD, outcome=Outcome.FAILED, output="air-executor: not valid")
    assert "not valid" in found.reason
    assert not found.is_in_task_log


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"signal": 9, "outcome": Outcome.FAILED}, "SIGKILL (9)"),
        ({"signal": 200, "outcome": Outcome.FAILED}, "signal 200"),
        ({"exit_code": 137, "outcome": Outcome.FAILED}, "SIGKILL (9); the kernel"),
        ({"exit_code": 1, "outcome": Outcome.FAILED}, "code 1"),
        ({"error": "out of memory: 2G", "exit_code": 137, "outcome": Outcome.OUT_OF_MEMORY}, "out of memory: 2G"),
        ({"error": "timeout: 5 s", "signal": 15, "outcome": Outcome.TIMED_OUT}, "timeout: 5 s"),
        ({"error": "could not start: no such file", "outcome": Outcome.NOT_STARTED}, "could not start"),
        ({"outcome": Outcome.LOST}, "lost"),
    ],
)
def test_every_failure_has_its_cause(fields, words):
    found = end(**fields)
    assert found.verdict is Verdict.FAILED
    assert words in found.reason


def test_a_runner_that_died_could_not_log_its_end():
    assert not end(signal=9, outcome=Outcome.FAILED).is_in_task_log
    assert not end(exit_code=137, outcome=Outcome.OUT_OF_MEMORY).is_in_task_log
    assert end(exit_code=1, outcome=Outcome.FAILED).is_in_task_log


def test_last_lines_are_given_once():
    found = end(signal=11, error="killed; last lines: boom", output="first\nboom\n", outcome=Outcome.FAILED)
    assert found.reason.count("boom") == 1
    assert "first" in found.reason


def test_a_cancelled_job_failed():
    found = end(JobState.CANCELLED, "cancelled by anna", status=TaskStatus.CANCELLED)
    assert found.verdict is Verdict.FAILED
    assert "cancelled by anna" in found.reason


def test_a_job_without_tasks_names_its_own_error():
    found = judge(FakeJobView("job", {}, JobState.FAILED, "tasks.json: broken"), None)
    assert "tasks.json: broken" in found.reason


def test_a_vanished_directory_is_lost():
    assert "lost" in make_lost_outcome("job").reason


def test_a_long_reason_is_cut():
    assert len(end(error="x" * 10_000, outcome=Outcome.NOT_STARTED).reason) < 2100


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (1, 1), (75, 1), (76, 1), (70, 1), (66, 1), (-9, 137), (126, 126)]
)
def test_exit_codes_of_task_processes_do_not_collide_with_ours(code, expected):
    assert exit_codes.from_supervisor(code) == expected
