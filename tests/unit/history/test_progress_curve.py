"""Progress in a bounded number of points: the same ones, however the events came in batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from air_executor.history.progress_curve import MOST_POINTS, Counts, ProgressCurve
from tests.support.jobs import T0, at


def counts(completed: int) -> Counts:
    return Counts(1000, completed, 1, 0, 999 - completed, 0, 0)


def test_the_last_of_each_second_is_kept() -> None:
    curve = ProgressCurve(T0)
    for number, seconds in enumerate((0.1, 0.5, 0.9, 1.0, 3.2, 3.3)):
        curve.note(at(seconds), counts(number))
    assert {number: point.counts.completed_tasks for number, point in curve.points.items()} == {0: 2, 1: 3, 3: 5}


def test_a_clock_that_was_set_back_does_not_turn_the_curve_back() -> None:
    curve = ProgressCurve(T0)
    curve.note(at(5), counts(1))
    curve.note(at(-100), counts(2))
    curve.note(at(2), counts(3))
    assert [(point.at, point.counts.completed_tasks) for point in curve.points.values()] == [(at(5), 3)]


def test_a_long_job_has_no_more_points_than_a_short_one() -> None:
    curve = ProgressCurve(T0)
    for number in range(20_000):
        curve.note(at(number), counts(number % 900))
    assert MOST_POINTS / 2 - 1 <= len(curve.points) <= MOST_POINTS
    assert curve.points[max(curve.points)].at == at(19_999)


@given(
    st.lists(st.floats(-10, 5000, allow_nan=False), min_size=1, max_size=80), st.lists(st.integers(0, 80), max_size=10)
)
def test_batches_and_restarts_change_nothing(seconds: list[float], cuts: list[int]) -> None:
    whole = ProgressCurve(T0)
    table: dict[int, object] = {}
    parts = ProgressCurve(T0)
    for number, second in enumerate(seconds):
        if number in cuts:
            is_anew, points = parts.take_changes()
            table = {**({} if is_anew else table), **points}
            # As another writer goes on with what the database holds.
            parts = ProgressCurve(T0, parts.step_s, dict(parts.points))
        whole.note(at(second), counts(number))
        parts.note(at(second), counts(number))
    is_anew, points = parts.take_changes()
    table = {**({} if is_anew else table), **points}
    assert table == whole.points
    assert parts.step_s == whole.step_s
    assert len(table) <= MOST_POINTS
