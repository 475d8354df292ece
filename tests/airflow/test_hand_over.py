"""Work that DAGs hand over to Air-Executor, under a real scheduler, executor and triggerer."""

from __future__ import annotations

import os
import signal
from importlib.metadata import version
from unittest.mock import ANY

import pytest

from air_executor.client import AirExecutorClient
from tests.support.waiting import wait_until

pytestmark = pytest.mark.core

TELLS_TRIGGERS = tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 3)
"""Airflow tells a trigger that somebody has cleared or marked its task."""
JOBS = ("submit", "whole", "ended_there", "from_xcom", "returns_tasks", "discovers")


@pytest.fixture(scope="module")
def run(stage):
    """The finished run of the DAG with one task of each kind."""
    stage.api.wait_for_dags(
        ["hand_over", "hand_over_retry", "hand_over_cleared", "hand_over_marked", "hand_over_killed"]
    )
    run = stage.api.trigger("hand_over")
    stage.api.wait_for_run("hand_over", run, timeout_s=180)
    return run


@pytest.fixture
def client(stage):
    return AirExecutorClient(stage.site.base_path)


def jobs_of(client, run, task_id=None):
    """Return the jobs that a run handed over, oldest first."""
    found = [view for view in client.jobs() if view.labels.get("kind") == "hand-over" and view.labels["run_id"] == run]
    return sorted(
        (view for view in found if task_id in (None, view.labels["task_id"])), key=lambda view: view.created_at
    )


def wait_for_job(client, run, accept, what, task_id="held"):
    return wait_until(
        lambda: jobs_of(client, run, task_id),
        lambda views: views and accept(views),
        timeout_s=60,
        interval_s=0.1,
        what=what,
    )


def wait_for_trigger(stage, dag_id, run):
    """Wait until the triggerer has taken up the wait, and has reported what runs. Before, it learns of no clearing or marking."""
    wait_until(
        lambda: stage.api.log(dag_id, run, "held"),
        lambda log: "🔄 held" in log.partition("waiting for it in the triggerer")[2],
        timeout_s=60,
        interval_s=0.5,
        what="the triggerer's report",
    )


def test_every_way_to_hand_over_succeeds(stage, run):
    assert set(stage.api.states("hand_over", run).values()) == {"success"}


@pytest.mark.parametrize(
    ("task", "results"),
    [("whole", {"answer": 42}), ("discovers", {"discover": {"found": 5}}), ("from_xcom", {}), ("wait_deferred", {})],
)
def test_summary_with_results_arrives_as_xcom(stage, run, task, results):
    summary = stage.api.xcom("hand_over", run, task)

    assert (summary["state"], summary["results"]) == ("completed", results)


@pytest.mark.parametrize(("task", "value"), [("use", 42), ("use_ended_there", 7)])
def test_downstream_tasks_use_results(stage, run, task, value):
    assert stage.api.xcom("hand_over", run, task) == value


def test_mapped_tasks_have_a_job_each(stage, run):
    answers = [stage.api.xcom("hand_over", run, "mapped", map_index=index)["results"]["answer"] for index in (0, 1)]

    assert answers == [10, 20]


def test_tasks_queued_by_the_discovery_are_part_of_the_job(stage, run):
    assert stage.api.xcom("hand_over", run, "discovers")["counts"]["completed"] == 6


def test_each_job_names_whose_it_is(client, run):
    handed = {view.labels["task_id"]: view.labels for view in jobs_of(client, run)}

    assert set(JOBS) <= set(handed)
    assert handed["whole"] == {
        "kind": "hand-over",
        "dag_id": "hand_over",
        "run_id": run,
        "task_id": "whole",
        "map_index": "-1",
        "try_number": "1",
        "work": ANY,
    }


def test_progress_is_reported_in_the_tasks_log(stage, run):
    log = stage.api.log("hand_over", run, "whole")

    assert "📊 Air-Executor Progress Report" in log
    assert "Completed:     2 (100.0%)" in log


def test_totals_and_history_are_xcoms_of_a_few_keys(stage, run):
    (job_name,) = [stage.api.xcom("hand_over", run, "whole", key="job_name")]

    keys = {
        entry["key"]
        for entry in stage.api.call("GET", f"/dags/hand_over/dagRuns/{run}/taskInstances/whole/xcomEntries")[
            "xcom_entries"
        ]
    }
    assert keys == {
        "return_value",
        "job_name",
        "total_tasks",
        "completed_tasks",
        "failed_tasks",
        "progress_percent",
        f"progress_history_{job_name}",
        "_link_AirExecutorJobLink",
    }
    assert stage.api.xcom("hand_over", run, "whole", key="completed_tasks") == 2
    assert stage.api.xcom("hand_over", run, "whole", key=f"progress_history_{job_name}")[-1]["completed"] == 2


def test_retry_runs_again_only_what_failed(stage, run, client):
    retried = stage.api.trigger("hand_over_retry")

    stage.api.wait_for_success("hand_over_retry", retried)

    assert stage.api.task_instance("hand_over_retry", retried, "fails_once")["try_number"] == 2
    assert "exit code 3" in stage.api.log("hand_over_retry", retried, "fails_once", 1)
    (view,) = jobs_of(client, retried)
    attempts = {task.id: task.attempt for task in client.tasks(view.name)}
    assert attempts == {"once": 1, "twice": 2}


def test_clearing_a_deferred_task_ends_its_job_and_the_next_try_goes_on_with_it(stage, run, client):
    cleared = stage.api.trigger("hand_over_cleared")
    stage.api.wait_for_task("hand_over_cleared", cleared, "held", {"deferred"})
    wait_for_trigger(stage, "hand_over_cleared", cleared)

    stage.api.clear("hand_over_cleared", cleared, ["held"])
    if TELLS_TRIGGERS:
        wait_for_job(client, cleared, lambda views: client.tasks(views[-1].name)[0].attempt == 2, "the second attempt")
    # Where the trigger has to ask, the next try may be there before the answer.
    stage.api.wait_for_task(
        "hand_over_cleared", cleared, "held", {"deferred"}, also=lambda seen: seen["try_number"] == 2
    )
    stage.release(cleared)

    stage.api.wait_for_success("hand_over_cleared", cleared)
    assert len(jobs_of(client, cleared)) == 1


def test_clearing_a_task_that_succeeded_starts_a_new_job(stage, run, client):
    again = stage.api.trigger("hand_over_cleared")
    stage.release(again)
    stage.api.wait_for_run("hand_over_cleared", again)

    stage.api.clear("hand_over_cleared", again, ["held"])

    stage.api.wait_for_run("hand_over_cleared", again, {"running", "queued"})
    stage.api.wait_for_success("hand_over_cleared", again)
    first, second = jobs_of(client, again)
    assert second.name == f"{first.name}.2"


def test_marking_a_deferred_task_ends_its_job(stage, run, client):
    marked = stage.api.trigger("hand_over_marked")
    stage.api.wait_for_task("hand_over_marked", marked, "held", {"deferred"})
    wait_for_trigger(stage, "hand_over_marked", marked)

    stage.api.mark("hand_over_marked", marked, "held", "failed")

    (view,) = wait_for_job(client, marked, lambda views: views[-1].state.is_terminal, "the end of the job")
    assert view.state.value == "cancelled"
    assert "its task in Airflow was ended" in view.error


def test_end_of_the_triggerer_ends_no_job_and_the_next_one_goes_on(stage, run, client):
    waiting = stage.api.trigger("hand_over_marked")
    stage.api.wait_for_task("hand_over_marked", waiting, "held", {"deferred"})
    wait_for_trigger(stage, "hand_over_marked", waiting)

    stage.site.end("triggerer", signal.SIGTERM)
    (view,) = jobs_of(client, waiting)
    assert view.state.value == "working"
    stage.site.start("triggerer")
    stage.release(waiting)

    stage.api.wait_for_success("hand_over_marked", waiting)


def test_marking_a_task_that_waits_in_its_worker_ends_its_job(stage, run, client):
    killed = stage.api.trigger("hand_over_killed")
    wait_for_job(client, killed, lambda views: views[-1].state.value == "working", "the job to run")

    stage.api.mark("hand_over_killed", killed, "held", "failed")

    (view,) = wait_for_job(client, killed, lambda views: views[-1].state.is_terminal, "the end of the job")
    assert view.state.value == "cancelled"


def test_cancelling_the_job_fails_the_task_for_good(stage, run, client):
    cancelled = stage.api.trigger("hand_over_marked")
    stage.api.wait_for_task("hand_over_marked", cancelled, "held", {"deferred"})
    (view,) = jobs_of(client, cancelled)

    client.cancel(view.name, "enough of it")

    assert stage.api.wait_for_run("hand_over_marked", cancelled) == "failed"
    assert "enough of it" in stage.api.log("hand_over_marked", cancelled, "held")


def test_wait_may_be_over_before_the_scheduler_knows_that_it_began(stage, run, client):
    waiting = stage.api.trigger("hand_over_marked")
    scheduler = stage.site.pid("scheduler")
    wait_until(
        lambda: stage.api.task_instance("hand_over_marked", waiting, "held")["state"],
        lambda state: state == "running",
        interval_s=0.01,
        what="the task to run",
    )
    os.kill(scheduler, signal.SIGSTOP)
    try:
        # The task leaves its worker, the trigger fires, and Airflow has the task go on: all without the scheduler.
        stage.api.wait_for_task("hand_over_marked", waiting, "held", {"deferred"})
        stage.release(waiting)
        stage.api.wait_for_task("hand_over_marked", waiting, "held", {"scheduled"})
    finally:
        os.kill(scheduler, signal.SIGCONT)

    stage.api.wait_for_success("hand_over_marked", waiting)
    assert stage.api.task_instance("hand_over_marked", waiting, "held")["try_number"] == 1


def test_many_wait_at_once_and_all_go_on(stage, run, client):
    stage.api.wait_for_dags(["hand_over_many"])
    many = stage.api.trigger("hand_over_many")
    wait_until(
        lambda: list(stage.api.states("hand_over_many", many).values()),
        lambda states: states == ["deferred"] * 24,
        timeout_s=120,
        interval_s=0.5,
        what="24 deferred task instances",
    )

    stage.release(many)

    stage.api.wait_for_success("hand_over_many", many, timeout_s=180)
    assert len(jobs_of(client, many)) == 24
