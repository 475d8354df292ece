"""Scheduler and manager may be restarted, or killed, while tasks run: nothing is lost, nothing runs twice."""

from __future__ import annotations

import signal

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.only_air

TASKS = ["bash_0", "bash_1", "bash_2", "python_held"]


@pytest.fixture
def held_run(stage):
    """A run whose four tasks run until it is released; released in any case."""
    run = stage.api.trigger("held")
    stage.ledger.wait_for("held", run, "start", len(TASKS))
    yield run
    stage.release(run)


def assert_each_ran_once(stage, run):
    stage.release(run)
    stage.api.wait_for_success("held", run)
    once = dict.fromkeys([*TASKS, "afterwards"], 1)
    assert stage.ledger.counts("held", run, "start") == once
    assert stage.ledger.counts("held", run, "end") == once
    assert {instance["try_number"] for instance in stage.api.task_instances("held", run)} == {1}


def restart_scheduler(stage, sign):
    stage.site.end("scheduler", sign)
    stage.site.start("scheduler")
    stage.site.wait_until_healthy()


def wait_for_another_manager(stage, old):
    wait_until(stage.site.manager_pid, lambda pid: pid not in (None, old), timeout_s=60, what="another manager")


@pytest.mark.core
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_running_tasks_survive_a_scheduler_restart(stage, held_run, sign):
    restart_scheduler(stage, sign)

    assert_each_ran_once(stage, held_run)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_running_tasks_survive_a_manager_restart(stage, held_run, sign):
    old = stage.site.wait_for_manager()

    stage.site.end_manager(sign)
    wait_for_another_manager(stage, old)

    assert_each_ran_once(stage, held_run)


@pytest.mark.core
def test_running_tasks_survive_the_death_of_scheduler_and_manager(stage, held_run):
    old = stage.site.wait_for_manager()

    stage.site.end_manager(signal.SIGKILL)
    restart_scheduler(stage, signal.SIGKILL)
    wait_for_another_manager(stage, old)

    assert_each_ran_once(stage, held_run)


def test_tasks_that_end_while_no_scheduler_runs_are_not_run_again(stage, held_run):
    stage.site.end("scheduler", signal.SIGKILL)
    stage.release(held_run)
    stage.ledger.wait_for("held", held_run, "end", len(TASKS))
    stage.site.start("scheduler")

    assert_each_ran_once(stage, held_run)
