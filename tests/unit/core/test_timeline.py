"""The course of a job, out of the instants of its tasks."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from air_executor.core.states import TaskStatus
from air_executor.core.timeline import Moment, pick_evenly, thin, trace
from tests.support.jobs import T0, at

COMPLETED, FAILED, RUNNING = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RUNNING


class Timed(NamedTuple):
    status: TaskStatus
    created_at: datetime = T0
    started_at: datetime | None = None
    completed_at: datetime | None = None


def test_a_job_without_tasks_has_no_moments() -> None:
    assert trace([], at(9)) == []


def test_every_change_is_a_moment_and_those_at_one_instant_are_one() -> None:
    tasks = [
        Timed(COMPLETED, T0, at(1), at(3)),
        Timed(FAILED, T0, at(1), at(4)),
        Timed(TaskStatus.SKIPPED, at(3), None, at(4)),
    ]
    assert trace(tasks) == [
        Moment(T0, total=2, completed=0, failed=0, unrun=0, running=0),
        Moment(at(1), total=2, completed=0, failed=0, unrun=0, running=2),
        Moment(at(3), total=3, completed=1, failed=0, unrun=0, running=1),
        Moment(at(4), total=3, completed=1, failed=1, unrun=1, running=0),
    ]


def test_what_runs_runs_until_now() -> None:
    moments = trace([Timed(RUNNING, T0, at(1))], at(60))
    assert moments[-1] == Moment(at(60), total=1, completed=0, failed=0, unrun=0, running=1)


def test_a_task_that_waits_for_its_retry_does_not_run() -> None:
    # It bears the start of the attempt that failed.
    assert {moment.running for moment in trace([Timed(TaskStatus.PENDING, T0, at(1))], at(60))} == {0}


def test_nothing_runs_for_less_than_no_time() -> None:
    moments = trace([Timed(COMPLETED, T0, at(5), at(4))])
    assert min(moment.running for moment in moments) == 0
    assert moments[-1].running == 0


def test_an_end_before_the_last_change_adds_nothing() -> None:
    assert trace([Timed(COMPLETED, T0, at(1), at(3))], at(2))[-1].at == at(3)


def test_few_moments_stay_as_they_are() -> None:
    moments = trace([Timed(COMPLETED, T0, at(n), at(n + 1)) for n in range(5)])
    assert thin(moments, 100) == moments


def test_thinned_moments_keep_beginning_end_order_and_the_most_that_ran() -> None:
    tasks = [Timed(COMPLETED if n % 7 else FAILED, T0, at(n / 10), at(n / 10 + 3.5)) for n in range(10_000)]
    # For a moment a hundred more run.
    tasks += [Timed(COMPLETED, at(400), at(400), at(400.001)) for _ in range(100)]
    moments = trace(tasks)
    thinned = thin(moments, 300)
    assert len(moments) > 10_000
    assert len(thinned) <= 300
    assert (thinned[0], thinned[-1]) == (moments[0], moments[-1])
    assert [each.at for each in thinned] == sorted({each.at for each in thinned})
    assert max(each.running for each in thinned) == max(each.running for each in moments) > 130
    assert [each.completed for each in thinned] == sorted(each.completed for each in thinned)


def test_many_changes_in_no_time_are_thinned_too() -> None:
    moments = [Moment(T0, number, 0, 0, 0, 0) for number in range(10)]
    assert thin(moments, 5)[-1] == moments[-1]


def test_thinning_keeps_first_and_last() -> None:
    points = [{"n": n} for n in range(1000)]

    kept = pick_evenly(points, 7)

    assert (len(kept), kept[0], kept[-1]) == (7, {"n": 0}, {"n": 999})
    assert pick_evenly(points[:3], 7) == points[:3]
