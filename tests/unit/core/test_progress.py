from __future__ import annotations

import pytest

from air_executor.core.progress import Rate, measure_progress
from air_executor.core.states import JobState

COUNTS = {"total": 1234, "completed": 789, "running": 45, "pending": 398, "failed": 2}


def test_counts_and_percent_are_those_of_the_state_file():
    progress = measure_progress("job", JobState.WORKING, COUNTS)

    assert (progress.total_tasks, progress.completed, progress.running, progress.failed) == (1234, 789, 45, 2)
    assert progress.ended == 791
    assert progress.percent == 64.1


def test_hundred_percent_only_when_all_have_ended():
    progress = measure_progress("job", JobState.WORKING, {"total": 100_000, "completed": 99_999, "running": 1})

    assert progress.percent == 99.9


def test_a_job_without_tasks_has_made_no_progress():
    assert measure_progress("job", JobState.WAITING, {}).percent == 0.0


def test_time_left_is_what_is_left_at_the_rate_seen():
    rate = Rate()
    rate.note(0.0, 0)
    rate.note(10.0, 500)

    progress = measure_progress("job", JobState.WORKING, {"total": 1500, "completed": 500, "pending": 1000}, rate)

    assert progress.tasks_per_s == 50
    assert progress.time_left_s == 20


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (JobState.COMPLETED, {"total": 10, "completed": 10}),
        (JobState.CANCELLED, {"total": 10, "completed": 5, "cancelled": 5}),
    ],
)
def test_a_job_that_is_over_has_no_time_left(state, counts):
    rate = Rate()
    rate.note(0.0, 0)
    rate.note(1.0, 5)

    assert measure_progress("job", state, counts, rate).time_left_s is None


def test_no_time_left_is_invented_before_anything_ended():
    rate = Rate()
    rate.note(0.0, 0)
    rate.note(10.0, 0)

    progress = measure_progress("job", JobState.WORKING, {"total": 10, "running": 10}, rate)

    assert (progress.tasks_per_s, progress.time_left_s) == (None, None)
