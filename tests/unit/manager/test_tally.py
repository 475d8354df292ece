"""What the manager counts of what happens to jobs."""

from __future__ import annotations

import pytest

from air_executor.core.events import Event, JobFinished, LaunchVoided, Outcome
from air_executor.core.job import Job
from air_executor.core.states import JobState
from air_executor.manager.tally import Distribution, Tally
from tests.support.jobs import T0, at, ended, job_of, launched, task


def happen(tally: Tally, job: Job, *events: Event) -> None:
    for event in events:
        job.apply(event)
        tally.note_event(job, event)


def test_a_bound_is_inclusive_and_what_is_above_all_of_them_has_its_own_count() -> None:
    distribution = Distribution((1.0, 2.0))
    for seconds in (0.0, 1.0, 1.1, 2.0, 2.1, 100.0):
        distribution.observe(seconds)
    assert distribution.counts == [2, 2, 2]
    assert distribution.sum_s == pytest.approx(106.2)


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    distribution = Distribution((1.0,))
    distribution.observe(-5.0)
    assert (distribution.counts, distribution.sum_s) == ([1, 0], 0.0)


def test_launches_ends_and_retries_are_counted_by_kind_and_outcome() -> None:
    tally, job = Tally(), job_of(task("a"), task("b", runner="airflow", workload="w.json"))
    happen(tally, job, launched("a"), launched("b", seconds=1))
    happen(tally, job, ended("a", Outcome.FAILED, retry_at=at(5)), ended("b", at=at(4)))
    assert tally.launches == {"command": 1, "airflow": 1}
    assert {outcome: n for outcome, n in tally.attempts_ended.items() if n} == {
        Outcome.FAILED: 1,
        Outcome.COMPLETED: 1,
    }
    assert tally.retries == 1
    assert tally.run_time["command"].sum_s == pytest.approx(1)
    assert tally.run_time["airflow"].sum_s == pytest.approx(3)


def test_a_task_waits_from_the_completion_of_its_last_dependency() -> None:
    tally, job = Tally(), job_of(task("a"), task("b"), task("c", "a", "b"))
    happen(tally, job, launched("a", seconds=1), launched("b", seconds=2))
    assert tally.queue_wait.sum_s == pytest.approx(1 + 2)
    happen(tally, job, ended("a", at=at(10)), ended("b", at=at(20)), launched("c", seconds=20.5))
    assert tally.queue_wait.sum_s == pytest.approx(3 + 0.5)


def test_only_the_first_attempt_waits_for_a_slot() -> None:
    tally, job = Tally(), job_of(task("a", retries=1))
    happen(tally, job, launched("a"), ended("a", Outcome.FAILED, retry_at=at(100)))
    job.end_delay("a")
    happen(tally, job, launched("a", attempt=2, seconds=100))
    assert sum(tally.queue_wait.counts) == 1


def test_what_never_started_has_no_run_time() -> None:
    tally, job = Tally(), job_of(task("a"))
    happen(tally, job, launched("a"), ended("a", Outcome.NOT_STARTED))
    assert sum(tally.run_time["command"].counts) == 0


def test_a_start_is_measured_from_its_launch() -> None:
    tally, job = Tally(), job_of(task("a"))
    tally.note_start(job.tasks["a"], T0.timestamp())
    assert sum(tally.start_delay["command"].counts) == 0
    happen(tally, job, launched("a", seconds=1))
    tally.note_start(job.tasks["a"], T0.timestamp() + 1.5)
    assert tally.start_delay["command"].sum_s == pytest.approx(0.5)


def test_voided_launches_and_ends_of_jobs_are_counted() -> None:
    tally, job = Tally(), job_of(task("a"))
    happen(tally, job, launched("a"), LaunchVoided(at=at(1), task="a", attempt=1))
    happen(tally, job, launched("a", attempt=1), ended("a"), JobFinished(at=at(3), state=JobState.COMPLETED))
    assert tally.launches_voided == 1
    assert tally.jobs_ended == {JobState.COMPLETED: 1, JobState.FAILED: 0, JobState.CANCELLED: 0}
