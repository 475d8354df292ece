"""What the planner decides: slots, priority, turns, limits, timeouts, retries, draining."""

from __future__ import annotations

from air_executor.core.events import JobCancelled, JobClosed, JobFinished, Outcome, TasksQueued
from air_executor.core.job import Job
from air_executor.core.planning import FinishJob, Planner, StartTask, StopTask
from air_executor.core.states import JobState
from tests.support.jobs import at, ended, job_of, launched, task


def jobs_with_tasks(planner: Planner, **sizes: int) -> dict[str, Job]:
    jobs = {name: job_of(*(task(f"{name}{n}") for n in range(size)), name=name) for name, size in sizes.items()}
    for job in jobs.values():
        planner.reconsider(job)
    return jobs


def start(planner: Planner, now: float = 0) -> list[str]:
    """Plan, launch what is to start, and return its ids."""
    started = []
    for action in planner.plan(now):
        if isinstance(action, StartTask):
            action.job.apply(launched(action.task_id, action.attempt))
            planner.launched(action.job)
            started.append(action.task_id)
    return started


def end(planner: Planner, job: Job, task_id: str, outcome: Outcome = Outcome.COMPLETED, **fields: object) -> None:
    job.apply(ended(task_id, outcome, job.tasks[task_id].attempt, **fields))
    planner.ended(job)


def test_no_more_starts_than_slots() -> None:
    planner = Planner(3)
    job = jobs_with_tasks(planner, a=10)["a"]
    assert start(planner) == ["a0", "a1", "a2"]
    assert start(planner) == []
    end(planner, job, "a1")
    assert start(planner) == ["a3"]


def test_an_executors_jobs_and_all_others_do_not_take_each_others_slots() -> None:
    planner = Planner(2)
    handed_over = jobs_with_tasks(planner, a=5)["a"]
    assert start(planner) == ["a0", "a1"]
    waiting = job_of(*(task(f"t{n}") for n in range(5)), name="t", announce=True)
    planner.reconsider(waiting)
    assert start(planner) == ["t0", "t1"]
    assert (planner.running(is_announced=True), planner.running(is_announced=False)) == (2, 2)
    end(planner, waiting, "t0")
    assert start(planner) == ["t2"]
    end(planner, handed_over, "a1")
    assert start(planner) == ["a2"]


def test_jobs_take_turns() -> None:
    planner = Planner(6)
    jobs_with_tasks(planner, large=100, small=2)
    assert start(planner) == ["large0", "small0", "large1", "small1", "large2", "large3"]


def test_a_job_that_comes_late_gets_the_next_slot_but_one() -> None:
    planner = Planner(1)
    large = jobs_with_tasks(planner, large=1000)["large"]
    assert start(planner) == ["large0"]
    jobs_with_tasks(planner, late=1)
    seen = []
    for number in range(2):
        end(planner, large, f"large{number}")
        seen += start(planner)
        if "late0" in seen:
            break
    assert "late0" in seen


def test_jobs_of_higher_priority_go_first() -> None:
    planner = Planner(3)
    for name, priority in (("low", -1), ("normal", 0), ("high", 9)):
        planner.reconsider(job_of(task(f"{name}0"), task(f"{name}1"), name=name, priority=priority))
    assert start(planner) == ["high0", "high1", "normal0"]


def test_max_parallel_limits_one_job_alone() -> None:
    planner = Planner(10)
    job = job_of(*(task(str(n)) for n in range(5)), name="narrow", max_parallel=2)
    planner.reconsider(job)
    jobs_with_tasks(planner, wide=3)
    assert sorted(start(planner)) == ["0", "1", "wide0", "wide1", "wide2"]
    end(planner, job, "0")
    assert start(planner) == ["2"]


def test_a_single_runner_job_goes_through_all_its_tasks() -> None:
    planner = Planner(4)
    job = job_of(*(task(str(n)) for n in range(5)), max_parallel=1)
    planner.reconsider(job)
    seen = []
    while started := start(planner):
        assert len(started) == 1
        seen += started
        end(planner, job, started[0])
    assert seen == ["0", "1", "2", "3", "4"]


def test_what_becomes_ready_starts_and_the_end_is_a_question_first() -> None:
    planner = Planner(4)
    job = job_of(task("a"), task("b", "a"))
    planner.reconsider(job)
    assert start(planner) == ["a"]
    end(planner, job, "a")
    assert start(planner) == ["b"]
    end(planner, job, "b")
    assert planner.plan(0) == [FinishJob(job)]
    # The last task had queued another one.
    job.apply(TasksQueued(at=at(3), tasks=(task("c"),)))
    planner.reconsider(job)
    assert start(planner) == ["c"]


def test_an_open_job_is_finished_after_it_was_closed() -> None:
    planner = Planner(4)
    job = job_of(is_open=True)
    planner.reconsider(job)
    assert planner.plan(0) == []
    job.apply(JobClosed(at=at(1)))
    planner.reconsider(job)
    assert planner.plan(0) == [FinishJob(job)]


def test_a_cancelled_job_starts_nothing_and_stops_what_runs() -> None:
    planner = Planner(2)
    job = jobs_with_tasks(planner, a=4)["a"]
    start(planner)
    job.apply(JobCancelled(at=at(1)))
    planner.reconsider(job)
    assert planner.plan(0) == [StopTask(job, "a0", 1, Outcome.CANCELLED), StopTask(job, "a1", 1, Outcome.CANCELLED)]
    end(planner, job, "a0", Outcome.CANCELLED)
    assert planner.plan(0) == [StopTask(job, "a1", 1, Outcome.CANCELLED)]
    end(planner, job, "a1", Outcome.CANCELLED)
    assert planner.plan(0) == [FinishJob(job)]


def test_a_timeout_stops_the_attempt_that_it_was_set_for() -> None:
    planner = Planner(2)
    job = job_of(task("a", retries=1))
    planner.reconsider(job)
    start(planner)
    planner.set_timeout(job, "a", 1, due=10)
    assert planner.next_due() == 10
    assert planner.plan(9.9) == []
    assert planner.plan(10) == [StopTask(job, "a", 1, Outcome.TIMED_OUT)]
    assert planner.next_due() is None


def test_a_timeout_of_an_attempt_that_has_ended_is_nobodys() -> None:
    planner = Planner(2)
    job = job_of(task("a", retries=1))
    planner.reconsider(job)
    start(planner)
    planner.set_timeout(job, "a", 1, due=10)
    end(planner, job, "a", Outcome.FAILED, retry_at=at(5))
    planner.set_retry(job, "a", due=5)
    assert start(planner, 5) == ["a"]
    assert planner.plan(10) == []


def test_a_retry_starts_when_its_pause_is_over() -> None:
    planner = Planner(2)
    job = job_of(task("a", retries=1))
    planner.reconsider(job)
    start(planner)
    end(planner, job, "a", Outcome.FAILED, retry_at=at(5))
    planner.set_retry(job, "a", due=105)
    assert start(planner, 104.9) == []
    assert planner.next_due() == 105
    assert start(planner, 105) == ["a"]
    assert job.tasks["a"].attempt == 2


def test_a_draining_planner_starts_nothing_and_still_stops_and_finishes() -> None:
    planner = Planner(1)
    job = jobs_with_tasks(planner, a=2)["a"]
    start(planner)
    planner.set_timeout(job, "a0", 1, due=1)
    planner.is_draining = True
    assert planner.plan(1) == [StopTask(job, "a0", 1, Outcome.TIMED_OUT)]
    end(planner, job, "a0", Outcome.TIMED_OUT)
    assert planner.plan(1) == []
    planner.is_draining = False
    assert start(planner) == ["a1"]


def test_fewer_slots_end_nothing_and_more_slots_start_more() -> None:
    planner = Planner(2)
    job = jobs_with_tasks(planner, a=5)["a"]
    start(planner)
    planner.slots = 1
    end(planner, job, "a0")
    assert start(planner) == []
    planner.slots = 3
    assert len(start(planner)) == 2


def test_a_forgotten_job_is_never_planned_again_also_when_a_pause_of_it_ends() -> None:
    planner = Planner(4)
    job = job_of(task("a", retries=1), task("b"))
    planner.reconsider(job)
    start(planner)
    end(planner, job, "a", Outcome.FAILED, retry_at=at(5))
    planner.set_retry(job, "a", due=5)
    planner.set_timeout(job, "b", 1, due=6)
    planner.ended(job)
    planner.forget(job)
    assert planner.plan(10) == []
    assert planner.next_due() is None


def test_a_forgotten_job_does_not_hold_back_a_new_one_of_its_name() -> None:
    planner = Planner(1)
    old = jobs_with_tasks(planner, a=5)["a"]
    start(planner)
    planner.forget(old)
    planner.ended(old)
    planner.forget(old)
    new = jobs_with_tasks(planner, a=1)["a"]
    [action] = planner.plan(0)
    assert action == StartTask(new, "a0", 1)


def test_the_end_of_a_job_is_planned_once_a_change() -> None:
    planner = Planner(1)
    job = jobs_with_tasks(planner, a=1)["a"]
    start(planner)
    end(planner, job, "a0")
    assert planner.plan(0) == [FinishJob(job)]
    job.apply(JobFinished(at=at(5), state=JobState.COMPLETED))
    assert planner.plan(0) == []
