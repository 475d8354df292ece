"""Every kind of task ends as Airflow's users expect."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.core


def test_each_kind_of_task_ends_in_its_state(stage):
    run = stage.runs["kinds"]

    stage.api.wait_for_success("kinds", run)

    assert stage.api.states("kinds", run) == {
        "bash": "success",
        "produce": "success",
        "consume": "success",
        "square[0]": "success",
        "square[1]": "success",
        "square[2]": "success",
        "square[3]": "success",
        "total": "success",
        "choose": "success",
        "taken": "success",
        "not_taken": "skipped",
        "skips_itself": "skipped",
        "fails_once": "success",
        "defers": "success",
        "as_somebody": "success",
    }


@pytest.mark.parametrize(
    ("task", "value"),
    [
        ("bash", "done"),
        ("consume", 6),
        ("total", 30),
        ("fails_once", 2),
        ("defers", "resumed"),
        ("as_somebody", "as somebody"),
    ],
)
def test_results_arrive_as_xcom(stage, task, value):
    run = stage.runs["kinds"]
    stage.api.wait_for_task("kinds", run, task)

    assert stage.api.xcom("kinds", run, task) == value


def test_task_log_holds_both_output_streams(stage):
    run = stage.runs["kinds"]
    stage.api.wait_for_task("kinds", run, "bash")

    log = stage.api.log("kinds", run, "bash")

    assert "to stdout" in log
    assert "to stderr" in log


def test_each_task_ran_as_often_as_asked_for(stage):
    run = stage.runs["kinds"]
    stage.api.wait_for_run("kinds", run)

    assert stage.ledger.counts("kinds", run, "start") == {"bash": 1, "square": 4, "fails_once": 2, "defers": 1}
    assert stage.ledger.counts("kinds", run, "end") == {"bash": 1, "defers": 1}


def test_failing_task_uses_its_retry_and_keeps_the_log_of_each_try(stage):
    run = stage.runs["always_fails"]

    assert stage.api.wait_for_run("always_fails", run) == "failed"

    instance = stage.api.task_instance("always_fails", run, "exits_7")
    assert (instance["state"], instance["try_number"]) == ("failed", 2)
    for attempt in (1, 2):
        log = stage.api.log("always_fails", run, "exits_7", attempt)
        assert "last words" in log
        assert "return code 7" in log or "exit code 7" in log
    assert [entry.attempt for entry in stage.ledger.entries("always_fails", run)] == [1, 2]


def test_execution_timeout_fails_the_task_and_ends_its_tree(stage):
    run = stage.runs["times_out"]
    stage.ledger.wait_for("times_out", run, "start", 2)

    assert stage.api.wait_for_run("times_out", run) == "failed"

    assert stage.api.states("times_out", run) == {"python_sleeps": "failed", "bash_sleeps": "failed"}
    assert "imeout" in stage.api.log("times_out", run, "python_sleeps")
    stage.wait_until_gone("sleep", "3602")


@pytest.mark.only_air
def test_execution_timeout_ends_what_left_the_session_too(stage):
    stage.api.wait_for_run("times_out", stage.runs["times_out"])

    stage.wait_until_gone("sleep", "3601")


@pytest.mark.only_air
def test_daemon_that_a_task_left_behind_is_ended(stage):
    run = stage.runs["leaves_daemon"]

    stage.api.wait_for_success("leaves_daemon", run)

    assert stage.ledger.counts("leaves_daemon", run, "end") == {"start_daemon": 1}
    stage.wait_until_gone("sleep", "3603")
