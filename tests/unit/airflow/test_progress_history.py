from __future__ import annotations

from air_executor.airflow.progress_history import MAX_POINTS, ProgressHistory, reconstruct
from air_executor.airflow.progress_report import TaskGlance
from air_executor.core.progress import measure_progress
from air_executor.core.states import JobState, TaskStatus
from tests.support.jobs import at


def progress(completed: int, total: int = 10_000):
    return measure_progress("job", JobState.WORKING, {"total": total, "completed": completed})


def task(number: int, status=TaskStatus.COMPLETED, created=0.0, started=1.0, ended=2.0):
    return TaskGlance(
        id=f"t{number}",
        status=status,
        created_at=at(created),
        started_at=None if started is None else at(started),
        completed_at=None if ended is None else at(ended),
    )


def test_points_have_what_charts_need():
    history = ProgressHistory()
    history.note(at(0), progress(3))

    assert history.points() == [
        {
            "timestamp": "2025-10-02T07:30:00+00:00",
            "total": 10_000,
            "completed": 3,
            "running": 0,
            "failed": 0,
            "pending": 0,
        }
    ]


def test_what_has_not_changed_adds_no_point():
    history = ProgressHistory()
    for second in range(5):
        history.note(at(second), progress(1))

    assert len(history.points()) == 1


def test_history_stays_bounded_and_keeps_its_ends():
    history = ProgressHistory()
    for number in range(10_000):
        history.note(at(number), progress(number))

    points = history.points()
    assert len(points) <= MAX_POINTS
    assert (points[0]["completed"], points[-1]["completed"]) == (0, 9_999)
    completed = [point["completed"] for point in points]
    assert completed == sorted(completed)


def test_course_is_told_by_tasks_alone():
    tasks = [
        task(0, ended=4),
        task(1, TaskStatus.FAILED, created=3, started=5, ended=6),
        task(2, TaskStatus.RUNNING, ended=None),
    ]

    points = reconstruct(tasks)

    assert [tuple(list(point.values())[1:]) for point in points] == [
        # total, completed, running, failed, pending
        (2, 0, 0, 0, 2),  # 0 s
        (2, 0, 2, 0, 0),  # 1 s
        (3, 0, 2, 0, 1),  # 3 s: one was queued
        (3, 1, 1, 0, 1),  # 4 s
        (3, 1, 2, 0, 0),  # 5 s
        (3, 1, 1, 1, 0),  # 6 s
    ]


def test_skipped_tasks_never_ran():
    points = reconstruct([task(0, TaskStatus.SKIPPED, started=None)])

    assert {name: points[-1][name] for name in ("running", "pending", "failed")} == {
        "running": 0,
        "pending": 0,
        "failed": 0,
    }


def test_course_of_very_many_tasks_is_bounded():
    points = reconstruct(task(n, created=n, started=n + 0.3, ended=n + 0.6) for n in range(5_000))

    assert len(points) == MAX_POINTS
    assert points[-1]["completed"] == 5_000


def test_jobs_without_tasks_have_no_course():
    assert reconstruct([]) == []


def test_task_that_waits_for_another_attempt_is_pending():
    last = reconstruct([task(0, TaskStatus.PENDING, ended=None)])[-1]

    assert (last["running"], last["pending"]) == (0, 1)


def test_nothing_ends_before_it_starts_where_clocks_disagree():
    points = reconstruct([task(0, started=2, ended=1)])

    assert all(number >= 0 for point in points for name, number in point.items() if name != "timestamp")
