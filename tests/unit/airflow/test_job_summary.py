from __future__ import annotations

import json

import pytest

from air_executor.airflow.job_observer import read_glances
from air_executor.airflow.job_summary import explain_failure, make_summary
from air_executor.client import AirExecutorClient
from air_executor.core.states import JobState, TaskStatus
from tests.support.written_jobs import write_job, write_result

DONE, FAILED = TaskStatus.COMPLETED, TaskStatus.FAILED


@pytest.fixture
def client(tmp_path):
    return AirExecutorClient(tmp_path / "root")


def put(client, state=JobState.COMPLETED, tasks=None, **fields):
    write_job(client, "job", state, tasks or {"a": DONE, "b": DONE, "c": DONE}, **fields)
    return client.job("job")


def test_summary_says_how_it_ended_and_what_tasks_left(client):
    view = put(client)
    write_result(client, "job", "a", {"rows": 3})
    write_result(client, "job", "c", [1, 2])

    summary = make_summary(client, view)

    assert summary["job_name"] == "job"
    assert summary["state"] == "completed"
    assert summary["counts"]["completed"] == 3
    assert summary["results"] == {"a": {"rows": 3}, "c": [1, 2]}
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.parametrize(("asked", "kept"), [(["c"], {"c": 2}), ([], {}), (True, {"a": 1, "c": 2})])
def test_only_the_results_asked_for_are_read(client, asked, kept):
    view = put(client)
    write_result(client, "job", "a", 1)
    write_result(client, "job", "c", 2)

    assert make_summary(client, view, results_of=asked)["results"] == kept


def test_no_results_at_all(client):
    assert "results" not in make_summary(client, put(client), results_of=False)


def test_results_have_a_limit_and_the_rest_is_counted(client, caplog):
    view = put(client)
    for task in "abc":
        write_result(client, "job", task, "x" * 400)

    summary = make_summary(client, view, max_results_bytes=1000)

    assert (len(summary["results"]), summary["results_left_out"]) == (2, 1)
    assert "get_client().result" in caplog.text


def test_damaged_result_is_told_of_and_left_out(client, caplog):
    view = put(client)
    write_result(client, "job", "a", 1)
    (client.job_path("job") / "results" / "b.1.json").write_text("{")

    assert make_summary(client, view)["results"] == {"a": 1}
    assert "task b" in caplog.text


def test_failure_names_tasks_and_reasons(client):
    tasks = {f"t{n}": FAILED for n in range(7)}
    view = put(client, JobState.FAILED, tasks, error="7 of 7 tasks failed")

    message = explain_failure(view, read_glances(client, "job"))

    assert message.splitlines()[0] == "Air-Executor job job failed: 7 of 7 tasks failed"
    assert "❌ t0: exit code 3" in message
    assert "and 2 more" in message


def test_cancelled_job_says_why(client):
    view = put(client, JobState.CANCELLED, error="enough")

    assert explain_failure(view, []) == "Air-Executor job job was cancelled: enough"
