from __future__ import annotations

import dataclasses
import tempfile
from types import SimpleNamespace
from unittest.mock import ANY

import msgspec
import pytest

from air_executor.airflow import handed_over_job, job_names
from air_executor.airflow.handed_over_job import (
    Step,
    cancel_for,
    hand_over,
    note_taken,
)
from air_executor.airflow.job_input import make_options, make_specs
from air_executor.airflow.task_instance_try import TaskInstanceTry
from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec
from air_executor.core.states import JobState, TaskStatus
from air_executor.errors import InvalidJobError, JobExistsError, JobNotFinishedError
from air_executor.store.requests import list_requests, read_request
from tests.support.written_jobs import write_job, written_task

FIRST = TaskInstanceTry("sales", "extract", "manual__2025-10-02T07:30:00+00:00", -1, try_number=1, max_tries=0)
SPEC = JobSpec(name="nightly", tasks=(TaskSpec(id="task-1", command="true"), TaskSpec(id="task-2", command="true")))


@pytest.fixture
def client(tmp_path):
    return AirExecutorClient(tmp_path / "root")


def again(by: int = 1, *, cleared: bool = False) -> TaskInstanceTry:
    number = FIRST.try_number + by
    return dataclasses.replace(FIRST, try_number=number, max_tries=FIRST.try_number if cleared else FIRST.max_tries)


def put(client, state, name="nightly", statuses=(TaskStatus.COMPLETED, TaskStatus.FAILED), **fields):
    """Write the job that the first try handed over."""
    tasks = dict(zip(("task-1", "task-2"), statuses, strict=True))
    return write_job(client, name, state, tasks, **{"labels": labels_of(SPEC), **fields})


def labels_of(spec) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        client = AirExecutorClient(directory)
        return client.job(hand_over(client, FIRST, spec).job_name).labels


def requests(client) -> list[str]:
    return [type(read_request(path)).__name__ for path in list_requests(client._root)]


def test_first_try_submits_with_its_labels(client):
    handed = hand_over(client, FIRST, SPEC)

    assert (handed.job_name, handed.step) == ("nightly", Step.SUBMIT)
    assert client.job("nightly").labels == {
        "kind": "hand-over",
        "dag_id": "sales",
        "run_id": "manual__2025-10-02T07:30:00+00:00",
        "task_id": "extract",
        "map_index": "-1",
        "try_number": "1",
        "work": ANY,
    }


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("state", [JobState.WAITING, JobState.WORKING])
def test_later_try_attaches_to_the_job_that_is_not_over(client, state, cleared):
    put(client, state)

    handed = hand_over(client, again(cleared=cleared), SPEC)

    assert (handed.job_name, handed.step) == ("nightly", Step.ATTACH)
    assert client.job_names() == ["nightly"]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_later_try_runs_again_what_did_not_complete(client, state):
    put(client, state, seconds=7)

    handed = hand_over(client, again(), SPEC)

    assert (handed.job_name, handed.step) == ("nightly", Step.RETRY)
    assert handed.after == client.job("nightly").updated_at
    assert requests(client) == ["RetryTasks"]


TASK_1, TASK_2 = SPEC.tasks


@pytest.mark.parametrize(
    "mended",
    [
        {"tasks": (TASK_1, TaskSpec(id="task-2", command="false"))},
        {"tasks": (TASK_1, TaskSpec(id="task-2", command="true", env={"DAY": "1"}))},
        {"tasks": (TASK_1,)},
        {"tasks": (*SPEC.tasks, TaskSpec(id="task-3", command="true"))},
        {"options": JobOptions(tolerated_failures=1)},
        {"options": JobOptions(max_parallel=1)},
        {"options": JobOptions(fail_fast=True)},
    ],
)
@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_mended_work_gets_a_new_job(client, mended, state):
    put(client, state)

    handed = hand_over(client, again(cleared=True), msgspec.structs.replace(SPEC, **mended))

    assert (handed.job_name, handed.step) == ("nightly.2", Step.SUBMIT_NEXT)
    assert requests(client) == []


def test_environment_of_a_try_does_not_make_it_other_work(client):
    specs = [
        msgspec.structs.replace(SPEC, options=JobOptions(max_parallel=2, environment=digest * 64)) for digest in "ab"
    ]
    put(client, JobState.FAILED, labels=labels_of(specs[0]))

    assert hand_over(client, again(), specs[1]).step is Step.RETRY


def test_order_of_variables_does_not_make_it_other_work(client):
    specs = [
        JobSpec(name="nightly", tasks=(TaskSpec(id="task-1", command="true", env=env),))
        for env in ({"A": "1", "B": "2"}, {"B": "2", "A": "1"})
    ]
    put(client, JobState.FAILED, labels=labels_of(specs[0]))

    assert hand_over(client, again(), specs[1]).step is Step.RETRY


def test_job_that_does_not_say_what_it_was_asked_for_is_other_work(client):
    put(client, JobState.FAILED, labels=FIRST.labels)

    assert hand_over(client, again(), SPEC).step is Step.SUBMIT_NEXT


def test_work_that_is_no_text_is_refused(client):
    with pytest.raises(InvalidJobError, match="Unicode"):
        hand_over(client, FIRST, JobSpec(name="nightly", tasks=(TaskSpec(id="task-1", command="\udcff"),)))


def test_tasks_that_the_job_queued_itself_do_not_make_it_other_work(client):
    tasks = [written_task("nightly", name, TaskStatus.FAILED) for name in ("task-1", "task-2", "found-by-task-1")]
    write_job(client, "nightly", JobState.FAILED, tasks, labels=labels_of(SPEC))

    assert hand_over(client, again(), SPEC).step is Step.RETRY


def test_completed_job_is_taken_by_the_try_that_comes_after_a_crash(client):
    put(client, JobState.COMPLETED)

    assert hand_over(client, again(), SPEC).step is Step.TAKE


def test_retry_after_the_results_were_taken_takes_them_again(client):
    # The worker died between taking them and telling Airflow so.
    put(client, JobState.COMPLETED)
    note_taken(client, "nightly", FIRST)

    assert hand_over(client, again(), SPEC).step is Step.TAKE


def test_clearing_a_task_that_succeeded_runs_it_anew(client):
    put(client, JobState.COMPLETED)
    note_taken(client, "nightly", FIRST)

    handed = hand_over(client, again(cleared=True), SPEC)

    assert (handed.job_name, handed.step) == ("nightly.2", Step.SUBMIT_NEXT)


def test_clearing_before_the_results_were_taken_takes_them(client):
    put(client, JobState.COMPLETED)

    assert hand_over(client, again(cleared=True), SPEC).step is Step.TAKE


def test_newest_of_several_jobs_counts(client):
    put(client, JobState.COMPLETED)
    note_taken(client, "nightly", FIRST)
    hand_over(client, again(cleared=True), SPEC)

    handed = hand_over(client, again(2, cleared=True), SPEC)

    assert (handed.job_name, handed.step) == ("nightly.2", Step.ATTACH)


def test_newest_job_is_found_although_the_first_is_gone(client):
    put(client, JobState.WORKING, name="nightly.3")

    assert hand_over(client, again(), SPEC).job_name == "nightly.3"


def test_archived_job_is_found(client):
    directory = put(client, JobState.FAILED)
    directory.rename(client.base_path / "archive" / "nightly")

    assert hand_over(client, again(), SPEC).step is Step.RETRY


def test_job_of_a_name_that_was_given_again_is_newer_than_archived_ones(client):
    old = put(client, JobState.COMPLETED, name="nightly.2")
    note_taken(client, "nightly.2", FIRST)
    old.rename(client.base_path / "archive" / "nightly.2")
    handed = hand_over(client, again(cleared=True), SPEC)

    attached = hand_over(client, again(2, cleared=True), SPEC)

    assert (handed.job_name, handed.step) == ("nightly", Step.SUBMIT)
    assert (attached.job_name, attached.step) == ("nightly", Step.ATTACH)
    put(client, JobState.FAILED)
    assert hand_over(client, again(2, cleared=True), SPEC, force_new=True).job_name == "nightly.3"


def test_new_job_by_force_starts_when_the_one_before_has_ended(client, monkeypatch):
    put(client, JobState.WORKING)
    present = []

    def wait(name, timeout_s):
        present.append(client.job_names())
        put(client, JobState.CANCELLED)
        return client.job(name)

    monkeypatch.setattr(client, "wait", wait)

    handed = hand_over(client, again(), SPEC, force_new=True)

    assert (handed.job_name, handed.step) == ("nightly.2", Step.SUBMIT_NEXT)
    assert requests(client) == ["CancelJob"]
    assert present == [["nightly"]]


def test_new_job_by_force_starts_beside_none(client, monkeypatch):
    monkeypatch.setattr(handed_over_job, "_CANCEL_WAIT_S", 0.05)
    put(client, JobState.WORKING)

    with pytest.raises(JobNotFinishedError, match=r"nightly was cancelled .* nothing was submitted"):
        hand_over(client, again(), SPEC, force_new=True)

    assert client.job_names() == ["nightly"]


@pytest.mark.parametrize(
    "other",
    [
        {},
        {**FIRST.labels, "run_id": "another"},
        {**FIRST.labels, "map_index": "3"},
        {**FIRST.labels, "kind": "task"},
    ],
)
def test_job_of_somebody_else_is_left_alone(client, other):
    write_job(client, "nightly", labels=other)

    with pytest.raises(JobExistsError, match="run_id"):
        hand_over(client, again(), SPEC)


def test_try_after_a_kill_waits_for_the_end_and_runs_again_what_is_left(client, monkeypatch):
    put(client, JobState.WORKING)
    cancel_for(client, "nightly", FIRST, "cleared")
    monkeypatch.setattr(client, "wait", lambda name, timeout_s: put(client, JobState.CANCELLED) and client.job(name))

    handed = hand_over(client, again(cleared=True), SPEC)

    assert handed.step is Step.RETRY
    assert requests(client) == ["CancelJob", "RetryTasks"]


def test_job_that_is_over_needs_no_cancelling(client):
    put(client, JobState.COMPLETED)

    cancel_for(client, "nightly", FIRST, "cleared")

    assert requests(client) == []
    assert hand_over(client, again(), SPEC).step is Step.TAKE


def test_job_whose_files_were_refused_is_replaced(client, monkeypatch):
    put(client, JobState.FAILED)

    def refuse(name):
        raise InvalidJobError("nothing to retry")

    monkeypatch.setattr(client, "retry", refuse)

    assert hand_over(client, again(), SPEC).job_name == "nightly.2"


def test_try_is_read_from_airflows_task_instance():
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=None, try_number=2, max_tries=3)

    assert TaskInstanceTry.of(ti) == TaskInstanceTry("d", "t", "r", -1, 2, 3)


def test_tasks_may_be_dictionaries_or_specs():
    specs = make_specs([{"command": "echo", "args": ["a"]}, TaskSpec(id="b", command="true")])

    assert [(spec.id, spec.command, spec.args) for spec in specs] == [("task-1", "echo", ("a",)), ("b", "true", ())]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ("echo", "list"),
        ({"command": "echo"}, "list"),
        (None, "NoneType"),
        (["echo"], "task 1"),
        ([{"command": "true"}, {"comand": "true"}], "task 2: unknown field 'comand'"),
        ([{"command": 3}], "task 1"),
    ],
)
def test_bad_tasks_are_named(tasks, words):
    with pytest.raises(InvalidJobError, match=words):
        make_specs(tasks)


def test_options_that_are_none_are_not_given():
    assert make_options({"max_parallel": 4, "priority": None}) == JobOptions(max_parallel=4)


@pytest.mark.parametrize(
    ("options", "words"), [({"max_paralel": 4}, "max_paralel"), ({"max_parallel": 0}, "max_parallel")]
)
def test_bad_options_are_named(options, words):
    with pytest.raises(InvalidJobError, match=words):
        make_options(options)


def test_names_are_the_same_for_each_try_and_differ_where_ids_do():
    name = job_names.make_hand_over_name("d", "t", "r", -1)

    assert name == job_names.make_hand_over_name("d", "t", "r", -1)
    assert (
        len(
            {
                name,
                *(
                    job_names.make_hand_over_name(*ids)
                    for ids in (("d-t", "r", "", -1), ("d", "t", "r", 0), ("d", "t-r", "", -1))
                ),
            }
        )
        == 4
    )


def test_long_names_have_room_for_a_number():
    name = job_names.make_hand_over_name("d" * 250, "t" * 250, "r" * 250, 12_345)

    assert len(job_names.make_successor(name, 9_999_999)) <= 200
    assert job_names.find_number(job_names.make_successor(name, 9_999_999), name) == 9_999_999


@pytest.mark.parametrize("number", [1, 2, 10, 12_345])
def test_successors_are_numbered(number):
    assert job_names.find_number(job_names.make_successor("nightly", number), "nightly") == number


@pytest.mark.parametrize(
    "other",
    [
        "nightly.",
        "nightly.0",
        "nightly.1",
        "nightly.02",
        "nightly.2.2",
        "nightly.x",
        "nightly-2",
        "nightly.20261120",
        "nightly2",
        "daily.2",
        "night",
        "nightly.²",
    ],
)
def test_names_that_only_look_alike_are_no_successors(other):
    assert job_names.find_number(other, "nightly") is None
