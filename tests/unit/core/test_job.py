"""How each event changes a job."""

from __future__ import annotations

import pytest

from air_executor.core.events import (
    JobCancelled,
    JobClosed,
    JobFinished,
    LaunchVoided,
    Outcome,
    TaskRestored,
    TasksOrphaned,
    TasksQueued,
    TasksReset,
)
from air_executor.core.job import Job
from air_executor.core.states import TASK_TRANSITIONS, JobState, TaskStatus
from air_executor.errors import DependencyError, InvalidJobError, InvalidTransitionError, TaskConflictError
from tests.support.jobs import T0, accepted, apply_all, at, ended, job_of, launched, run, statuses, task


def test_terminal_statuses_have_no_way_out_and_the_others_have() -> None:
    assert {status for status in TaskStatus if not TASK_TRANSITIONS[status]} == {
        status for status in TaskStatus if status.is_terminal
    }


def test_an_attempt_from_launch_to_end() -> None:
    job = job_of(task("a"))
    assert (job.state, job.has_ready, job.is_done) == (JobState.WAITING, True, False)
    job.apply(launched("a", seconds=1))
    assert (job.state, job.running, job.is_done) == (JobState.WORKING, {"a"}, False)
    job.apply(ended("a", at=at(3), started_at=at(2), cpu_s=0.5, exit_code=0))
    found = job.tasks["a"]
    assert (found.status, found.attempt, found.exit_code, found.cpu_s) == (TaskStatus.COMPLETED, 1, 0, 0.5)
    assert (found.started_at, found.completed_at) == (at(2), at(3))
    assert job.is_done
    assert job.outcome_state() == (JobState.COMPLETED, None)


def test_a_failure_skips_all_that_depend_on_it_and_says_why() -> None:
    job = job_of(task("a"), task("b", "a"), task("c", "b"), task("other"), task("d", "other", "c"))
    run(job, "a", Outcome.FAILED)
    assert statuses(job) == {"a": "failed", "b": "skipped", "c": "skipped", "other": "pending", "d": "skipped"}
    assert job.tasks["b"].error == "skipped: its dependency a is failed"
    assert job.tasks["c"].error == "skipped: its dependency b is skipped"
    run(job, "other")
    state, error = job.outcome_state()
    assert state is JobState.FAILED
    assert error == "task a failed: it has failed"


def test_the_error_of_a_job_names_the_first_failure_and_counts_the_others() -> None:
    job = job_of(task("a"), task("b"), task("c"))
    for name in ("c", "b"):
        run(job, name, Outcome.FAILED)
    run(job, "a")
    assert job.outcome_state() == (JobState.FAILED, "task b failed: it has failed (and 1 more)")


def test_a_chain_of_100_000_is_skipped_at_once() -> None:
    job = job_of(task("0"), *(task(str(n), str(n - 1)) for n in range(1, 100_000)))
    run(job, "0", Outcome.FAILED)
    assert job.counts[TaskStatus.SKIPPED] == 99_999
    assert job.is_done


def test_a_dependency_named_twice_counts_once() -> None:
    job = job_of(task("a"), task("b", "a", "a"))
    run(job, "a")
    assert job.take_ready() is job.tasks["b"]


def test_tasks_queued_late_join_what_is_so_by_then() -> None:
    job = job_of(task("good"), task("bad"))
    run(job, "good")
    run(job, "bad", Outcome.FAILED)
    # `early` comes before the task of its own batch that is skipped.
    job.apply(TasksQueued(at=at(3), tasks=(task("x", "good"), task("early", "y"), task("y", "bad"), task("z", "x"))))
    assert statuses(job) == {
        "good": "completed",
        "bad": "failed",
        "x": "pending",
        "early": "skipped",
        "y": "skipped",
        "z": "pending",
    }
    assert job.take_ready() is job.tasks["x"]
    assert job.take_ready() is None
    assert [each.order for each in job.tasks.values()] == [0, 1, 2, 3, 4, 5]


def test_the_same_task_again_adds_nothing_and_another_one_of_its_id_is_refused() -> None:
    job = job_of(task("a", command="sleep", args=("1",)))
    assert job.new_tasks((task("a", command="sleep", args=("1",)), task("b"))) == (task("b"),)
    with pytest.raises(
        TaskConflictError, match=r"'a' with another command \(sleep 1, not sleep 2\): choose another id"
    ):
        job.new_tasks((task("a", command="sleep", args=("2",)),))
    with pytest.raises(InvalidJobError, match="occurs twice"):
        job.new_tasks((task("c"), task("c")))


def test_a_task_may_wait_for_one_that_is_queued_later() -> None:
    job = job_of(task("a"))
    apply_all(job, launched("a"))
    job.apply(TasksQueued(at=at(1), tasks=job.new_tasks((task("c", "b", "a"),))))
    job.apply(ended("a", Outcome.COMPLETED, 1))
    assert job.orphans() == ("c",)
    job.apply(TasksQueued(at=at(2), tasks=job.new_tasks((task("b"),))))
    assert job.orphans() == ()
    run(job, "b")
    assert job.take_ready() is job.tasks["c"]


def test_a_task_that_waits_in_vain_fails_and_says_for_what() -> None:
    job = job_of(task("a"))
    job.apply(TasksQueued(at=at(1), tasks=job.new_tasks((task("c", "nowhere"), task("d", "c")))))
    assert job.orphans() == ()
    run(job, "a")
    job.apply(TasksOrphaned(at=at(2), tasks=job.orphans()))
    assert statuses(job) == {"a": "completed", "c": "failed", "d": "skipped"}
    assert job.outcome_state() == (
        JobState.FAILED,
        "task c failed: never started: it depends on 'nowhere', which nobody has queued",
    )


def test_a_cycle_through_a_task_that_has_waited_is_refused_by_its_path() -> None:
    job = job_of(task("a"))
    job.apply(TasksQueued(at=at(1), tasks=job.new_tasks((task("b", "c"),))))
    with pytest.raises(DependencyError, match=r"'c' -> 'b' -> 'c'$"):
        job.new_tasks((task("c", "b"),))


def test_tolerated_failures() -> None:
    job = job_of(task("a"), task("b"), task("c"), tolerated_failures=1)
    run(job, "a", Outcome.FAILED)
    run(job, "b")
    assert job.outcome_state()[0] is JobState.COMPLETED
    run(job, "c", Outcome.LOST)
    assert job.outcome_state()[0] is JobState.FAILED


def test_fail_fast_cancels_what_waits_and_stops_what_runs() -> None:
    job = job_of(task("a"), task("b"), task("c"), task("d", "a"), fail_fast=True)
    job.apply(launched("b"))
    run(job, "a", Outcome.FAILED)
    assert statuses(job) == {"a": "failed", "b": "running", "c": "cancelled", "d": "skipped"}
    assert job.is_stopping
    assert not job.has_ready
    job.apply(ended("b", Outcome.CANCELLED))
    assert job.is_done
    assert job.outcome_state()[0] is JobState.FAILED


def test_fail_fast_waits_for_the_first_failure_that_is_not_tolerated() -> None:
    job = job_of(task("a"), task("b"), task("c"), fail_fast=True, tolerated_failures=1)
    run(job, "a", Outcome.FAILED)
    assert not job.is_stopping
    run(job, "b", Outcome.FAILED)
    assert statuses(job)["c"] == "cancelled"
    assert job.outcome_state()[0] is JobState.FAILED


def test_a_cancelled_job_ends_when_what_runs_has_ended() -> None:
    job = job_of(task("a"), task("b"), task("c", "a"))
    job.apply(launched("a"))
    job.apply(JobCancelled(at=at(2), reason="not needed"))
    assert statuses(job) == {"a": "running", "b": "cancelled", "c": "cancelled"}
    assert not job.is_done
    job.apply(ended("a", Outcome.CANCELLED))
    assert job.is_done
    assert job.outcome_state() == (JobState.CANCELLED, "not needed")


def test_the_first_cancellation_counts() -> None:
    job = job_of(task("a"))
    apply_all(job, JobCancelled(at=at(1), reason="first"), JobCancelled(at=at(2), reason="second", is_failure=True))
    assert job.outcome_state() == (JobState.CANCELLED, "first")


def test_a_job_with_unusable_files_fails() -> None:
    job = apply_all(job_of(task("a")), JobCancelled(at=at(1), reason="tasks.json is broken", is_failure=True))
    assert job.outcome_state() == (JobState.FAILED, "tasks.json is broken")


def test_a_cancelled_attempt_is_not_retried() -> None:
    job = job_of(task("a", retries=3))
    apply_all(job, launched("a"), JobCancelled(at=at(2)), ended("a", Outcome.FAILED, retry_at=at(9)))
    assert statuses(job) == {"a": "failed"}
    assert job.is_done


def test_tasks_queued_into_a_cancelled_job_are_cancelled() -> None:
    job = apply_all(job_of(task("a")), JobCancelled(at=at(1)), TasksQueued(at=at(2), tasks=(task("b"), task("c", "b"))))
    assert set(statuses(job).values()) == {"cancelled"}
    assert job.is_done


def test_a_retry_waits_for_its_instant_and_keeps_what_went_wrong() -> None:
    job = job_of(task("a", retries=1), task("b", "a"))
    apply_all(job, launched("a"), ended("a", Outcome.FAILED, retry_at=at(9), exit_code=3))
    found = job.tasks["a"]
    assert (found.status, found.failures, found.retry_at, found.exit_code) == (TaskStatus.PENDING, 1, at(9), 3)
    assert found.error == "it has failed"
    assert job.delayed == {"a"}
    job.take_ready()
    assert job.take_ready() is None
    job.end_delay("a")
    assert job.take_ready() is found
    apply_all(job, launched("a", 2))
    assert (found.exit_code, found.retry_at) == (None, None)
    job.apply(ended("a", attempt=2))
    assert (found.error, found.status) == (None, TaskStatus.COMPLETED)
    assert job.take_ready() is job.tasks["b"]


def test_a_voided_launch_costs_no_retry_and_its_number_is_not_used_again() -> None:
    job = job_of(task("a"))
    assert job.take_ready() is not None
    apply_all(job, launched("a"), LaunchVoided(at=at(2), task="a", attempt=1))
    found = job.tasks["a"]
    assert (found.status, found.attempt, found.failures, found.started_at) == (TaskStatus.PENDING, 1, 0, None)
    assert job.take_ready() is found


def test_a_launch_voided_in_a_cancelled_job_is_cancelled() -> None:
    job = job_of(task("a"))
    apply_all(job, launched("a"), JobCancelled(at=at(2)), LaunchVoided(at=at(3), task="a", attempt=1))
    assert statuses(job) == {"a": "cancelled"}
    assert job.is_done


def test_a_rebuilt_job_hands_out_each_task_once() -> None:
    # After a replay nothing was ever taken from the ready tasks: the launch alone must account for that.
    job = apply_all(job_of(task("a", retries=1)), launched("a"), LaunchVoided(at=at(2), task="a", attempt=1))
    assert job.take_ready() is job.tasks["a"]
    assert job.take_ready() is None
    job = apply_all(job_of(task("a", retries=1)), launched("a"), ended("a", Outcome.LOST, retry_at=at(3)))
    job.end_delay("a")
    assert job.take_ready() is job.tasks["a"]
    assert job.take_ready() is None


def test_an_open_job_waits_until_it_is_closed() -> None:
    job = job_of(task("a"), is_open=True)
    run(job, "a")
    assert not job.is_done
    job.apply(JobClosed(at=at(3)))
    assert job.is_done


def test_a_cancelled_open_job_does_not_wait_to_be_closed() -> None:
    job = apply_all(job_of(is_open=True), JobCancelled(at=at(1)))
    assert job.is_done


def test_higher_priority_starts_first_then_the_order_of_queuing() -> None:
    job = job_of(task("a"), task("b", priority=5), task("c"), task("d", priority=5))
    assert [job.take_ready().spec.id for _ in range(4)] == ["b", "d", "a", "c"]


def test_restored_tasks_are_what_they_were() -> None:
    job = job_of(task("done"), task("bad"), task("after", "done"), task("never", "bad"), task("live"))
    apply_all(
        job,
        TaskRestored(at=T0, task="done", status=TaskStatus.COMPLETED, attempt=2, completed_at=at(-5)),
        TaskRestored(at=T0, task="bad", status=TaskStatus.FAILED, attempt=1, error="exit code 1"),
        TaskRestored(at=T0, task="live", status=TaskStatus.RUNNING, attempt=3),
    )
    assert statuses(job) == {
        "done": "completed",
        "bad": "failed",
        "after": "pending",
        "never": "skipped",
        "live": "running",
    }
    assert job.running == {"live"}
    assert job.state is JobState.WORKING
    assert job.take_ready() is job.tasks["after"]
    assert job.take_ready() is None


@pytest.mark.parametrize(
    "event",
    [
        launched("nobody"),
        ended("a"),
        ended("b", attempt=2),
        LaunchVoided(at=T0, task="a", attempt=1),
        launched("b", 2),
        launched("c"),
        TasksQueued(at=T0, tasks=(task("a"),)),
        accepted(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_that_do_not_fit_are_refused_and_change_nothing(event: object) -> None:
    job = job_of(task("a"), task("b"), task("c"))
    job.apply(launched("b"))
    run(job, "c")
    before = (statuses(job), dict(job.counts), set(job.running), job.state)
    with pytest.raises(InvalidTransitionError, match="job job"):
        job.apply(event)
    assert (statuses(job), job.counts, job.running, job.state) == before


def test_a_clock_that_was_set_back_does_not_make_a_job_older() -> None:
    job = job_of(task("a"))
    job.apply(launched("a", seconds=50))
    job.apply(ended("a", at=at(-1000)))
    assert job.updated_at == at(50)


def test_the_end_of_a_job() -> None:
    job = apply_all(job_of(task("a")), JobFinished(at=at(9), state=JobState.FAILED, error="why"))
    assert (job.state, job.error, job.updated_at) == (JobState.FAILED, "why", at(9))
    assert isinstance(job, Job)


def failed_job() -> Job:
    job = job_of(task("a"), task("b", "a"), task("c", "b"), task("good"), task("d", "good"), task("e", "c", "good"))
    run(job, "good")
    run(job, "a", Outcome.FAILED)
    run(job, "d", Outcome.FAILED)
    return apply_all(job, JobFinished(at=at(3), state=JobState.FAILED, error="why"))


def test_retrying_one_task_also_runs_what_was_skipped_because_of_it() -> None:
    job = failed_job()
    assert job.tasks_to_reset(["a"]) == ("a", "b", "c", "e")
    assert job.tasks_to_reset(["d"]) == ("d",)
    assert job.tasks_to_reset(None) == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(("task_id", "message"), [("good", "is completed"), ("nobody", "has no task 'nobody'")])
def test_what_cannot_be_retried_is_named(task_id: str, message: str) -> None:
    with pytest.raises(InvalidJobError, match=message):
        failed_job().tasks_to_reset([task_id])


def test_a_job_that_was_over_goes_on() -> None:
    job = failed_job()
    job.apply(TasksReset(at=at(4), tasks=job.tasks_to_reset(["a"])))
    assert (job.state, job.error, job.is_done) == (JobState.WORKING, None, False)
    assert statuses(job)["d"] == "failed"
    taken = job.take_ready()
    assert taken is job.tasks["a"]
    assert (taken.attempt, taken.error, taken.completed_at) == (1, None, None)
    assert job.take_ready() is None
    for name in ("a", "b", "c", "e"):
        run(job, name)
    assert job.is_done
    assert job.outcome_state()[1] == "task d failed: it has failed"


def test_a_cancelled_job_can_be_run_again() -> None:
    job = job_of(task("a"), task("b", "a"))
    apply_all(job, launched("a"), JobCancelled(at=at(2), reason="r"), ended("a", Outcome.CANCELLED))
    apply_all(job, JobFinished(at=at(3), state=JobState.CANCELLED), TasksReset(at=at(4), tasks=("a", "b")))
    assert not job.is_stopping
    job.take_ready()
    run(job, "a")
    assert job.take_ready() is job.tasks["b"]


def test_what_waits_for_a_task_that_ends_cancelled_is_skipped() -> None:
    job = job_of(task("a"), task("b", "a"), task("c", "b"))
    apply_all(job, launched("a"), JobCancelled(at=at(2), reason="r"))
    # Somebody wants what was cancelled to run again, while the end of the first task is still awaited.
    apply_all(job, TasksReset(at=at(3), tasks=("b", "c")), ended("a", Outcome.CANCELLED))
    assert statuses(job) == {"a": "cancelled", "b": "skipped", "c": "skipped"}
    assert job.is_done


def test_asking_twice_for_a_retry_is_asking_once() -> None:
    job = failed_job()
    job.apply(TasksReset(at=at(4), tasks=job.tasks_to_reset(["a"])))
    assert job.tasks_to_reset(["a"]) == ()
    job.apply(launched("a", 2))
    assert job.tasks_to_reset(["a"]) == ()
    assert job.tasks_to_reset(None) == ("d",)


def test_while_tasks_are_being_ended_a_retry_is_refused() -> None:
    for stop in (JobCancelled(at=at(2), reason="r"), ended("bad", Outcome.FAILED)):
        job = job_of(task("a"), task("bad"), task("b", "a"), fail_fast=True)
        apply_all(job, launched("a"), launched("bad"), stop)
        for wanted in (None, ["b"], ["a"]):
            with pytest.raises(InvalidJobError, match="job job is still ending its tasks"):
                job.tasks_to_reset(wanted)
    apply_all(job, ended("a", Outcome.CANCELLED))
    assert job.tasks_to_reset(None) == ("a", "bad", "b")
