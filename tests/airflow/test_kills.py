"""What people and the kernel do to running tasks: kill, mark, clear. The whole process tree must be gone in seconds."""

from __future__ import annotations

import psutil
import pytest

from tests.support.airflow_site import AIR_EXECUTOR
from tests.support.waiting import wait_until

CHILD = ("sleep", "3611")
DAEMON = ("sleep", "3612")


@pytest.fixture
def start_tree(stage):
    """Run a DAG whose first try holds a tree of processes, and return its run id and the task process."""

    def start(dag: str) -> tuple[str, psutil.Process]:
        run = stage.api.trigger(dag)
        (entry,) = stage.ledger.wait_for(dag, run, "start", 1)
        shell = psutil.Process(entry.pid)
        wait_until(lambda: stage.processes_named(*CHILD) and stage.processes_named(*DAEMON), what="the tree")
        return run, shell.parent()

    yield start
    for words in (CHILD, DAEMON):
        for process in stage.processes_named(*words):
            process.kill()


def wait_until_tree_is_gone(stage):
    # Airflow itself notices at the next heartbeat that a task was marked or cleared.
    stage.wait_until_gone(*CHILD, timeout_s=60)
    if stage.site.executor == AIR_EXECUTOR:  # others leave what called setsid
        stage.wait_until_gone(*DAEMON)


@pytest.mark.core
@pytest.mark.only_air
def test_killed_supervisor_is_noticed_retried_and_its_tree_ended(stage, start_tree):
    run, task_process = start_tree("killed_supervisor")

    task_process.parent().kill()

    stage.api.wait_for_success("killed_supervisor", run)
    wait_until_tree_is_gone(stage)
    assert [entry.attempt for entry in stage.ledger.entries("killed_supervisor", run, "start")] == [1, 2]
    assert [entry.attempt for entry in stage.ledger.entries("killed_supervisor", run, "end")] == [2]


@pytest.mark.only_air
def test_cause_of_a_killed_supervisor_is_told_in_log_and_events(stage, start_tree):
    run, task_process = start_tree("killed_supervisor")

    task_process.parent().kill()

    stage.api.wait_for_run("killed_supervisor", run)
    events = " ".join(str(event["extra"]) for event in stage.api.events("killed_supervisor", run, "tree"))
    assert "SIGKILL" in events or "signal 9" in events
    log = stage.api.log("killed_supervisor", run, "tree", 1)
    assert "SIGKILL" in log or "signal 9" in log


@pytest.mark.only_air
def test_killed_task_process_is_retried_and_its_tree_ended(stage, start_tree):
    run, task_process = start_tree("killed_task")

    task_process.kill()

    stage.api.wait_for_success("killed_task", run)
    wait_until_tree_is_gone(stage)
    assert [entry.attempt for entry in stage.ledger.entries("killed_task", run, "start")] == [1, 2]


@pytest.mark.parametrize("state", ["success", "failed"])
def test_marking_a_running_task_ends_its_tree(stage, start_tree, state):
    dag = f"marked_{state}"
    run, _ = start_tree(dag)

    stage.api.mark(dag, run, "tree", state)

    wait_until_tree_is_gone(stage)
    assert stage.api.wait_for_run(dag, run) == state
    assert stage.api.task_instance(dag, run, "tree")["state"] == state
    assert stage.ledger.counts(dag, run, "end") == {}


@pytest.mark.core
def test_clearing_a_running_task_ends_its_tree_and_runs_it_anew(stage, start_tree):
    run, _ = start_tree("cleared")

    stage.api.clear("cleared", run, ["tree"])

    wait_until_tree_is_gone(stage)
    stage.api.wait_for_success("cleared", run)
    assert [entry.attempt for entry in stage.ledger.entries("cleared", run, "start")] == [1, 2]
    assert [entry.attempt for entry in stage.ledger.entries("cleared", run, "end")] == [2]


@pytest.mark.core
def test_cleared_task_that_ends_before_it_is_stopped_is_run_anew_at_once(stage):
    run = stage.api.trigger("held")
    stage.ledger.wait_for("held", run, "start", 4)

    stage.api.clear("held", run, ["bash_0", "python_held"])
    # Before the next heartbeat, which would tell.
    stage.release(run)

    stage.api.wait_for_success("held", run, timeout_s=100)
    for task_id in ("bash_0", "python_held"):
        assert stage.api.task_instance("held", run, task_id)["try_number"] == 2
