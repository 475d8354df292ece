from __future__ import annotations

import pytest

from air_executor.airflow.progress_report import ReportPace, TaskGlance, list_failed, render_report
from air_executor.core.progress import Rate, measure_progress
from air_executor.core.states import JobState, TaskStatus
from tests.support.jobs import at


def progress(*, rate=None, state=JobState.WORKING, **counts):
    return measure_progress("my-dynamic-job", state, {"total": sum(counts.values()), **counts}, rate)


def rate(per_s: float) -> Rate:
    noted = Rate()
    noted.note(0, 0)
    noted.note(10, int(per_s * 10))
    return noted


def glances(number: int, status: TaskStatus, **fields) -> list[TaskGlance]:
    return [TaskGlance(id=f"process-chunk-{n}", status=status, **fields) for n in range(number)]


def test_overview_stands_in_columns_with_the_share_of_completed_tasks():
    report = render_report(progress(completed=789, running=45, pending=400))

    assert report.splitlines()[1:13] == [
        "=" * 60,
        "📊 Air-Executor Progress Report",
        "=" * 60,
        "Job: my-dynamic-job",
        "State: working",
        "",
        "Tasks Overview:",
        "  Total:      1234",
        "  Completed:   789 ( 63.9%)",
        "  Running:      45",
        "  Pending:     400",
        "  Failed:        0",
    ]


def test_large_numbers_stay_in_their_columns():
    report = render_report(progress(completed=99_999, pending=1))

    lines = [line for line in report.splitlines() if line.startswith("  ")]
    assert {line.split(" (")[0].rfind(line.split(" (")[0].strip()[-1]) for line in lines} == {18}
    assert "( 99.9%)" in report  # never 100 while one is left


def test_cancelled_and_skipped_tasks_are_counted_where_there_are_any():
    assert "Skipped:       2" in render_report(progress(completed=1, failed=1, skipped=2))
    assert "Skipped" not in render_report(progress(completed=1))


def test_recent_tasks_are_those_that_completed_last():
    tasks = [TaskGlance(id=f"t{n}", status=TaskStatus.COMPLETED, completed_at=at(100 - n)) for n in range(8)]

    report = render_report(progress(completed=8), tasks)

    assert [line.strip() for line in report.splitlines() if "✅" in line] == [f"✅ t{n}" for n in (4, 3, 2, 1, 0)]


def test_long_lists_are_cut_and_say_so():
    report = render_report(progress(running=45), glances(45, TaskStatus.RUNNING))

    assert report.count("🔄") == 5
    assert "… and 40 more" in report


def test_failed_tasks_say_why_in_one_line():
    (line,) = list_failed([TaskGlance(id="a", status=TaskStatus.FAILED, error="exit code 1;\nlast lines:\n  boom\n")])

    assert line == "  ❌ a: exit code 1; | last lines: | boom"


def test_failed_task_without_a_reason_is_told_of_all_the_same():
    assert list_failed([TaskGlance(id="a", status=TaskStatus.FAILED)]) == ["  ❌ a: no reason is known"]


def test_time_left_comes_from_what_was_seen():
    report = render_report(progress(rate=rate(2), completed=20, pending=240))

    assert "📅 Estimated time remaining: ~2.0 minutes at 2.0 tasks/s" in report


def test_nothing_is_said_of_time_left_where_nothing_is_known_or_nothing_is_left():
    assert "remaining" not in render_report(progress(rate=Rate(), completed=20, pending=240))
    assert "remaining" not in render_report(progress(rate=rate(2), state=JobState.COMPLETED, completed=20))


def test_job_without_tasks_divides_by_nothing():
    assert "Completed:     0 (  0.0%)" in render_report(progress())


def test_nothing_new_is_never_due():
    pace = ReportPace(5)
    pace.note(0, "a")

    assert not pace.is_due(1000, "a")
    assert pace.wait_s(1000, "a") == float("inf")


def test_news_wait_for_their_time():
    pace = ReportPace(5)
    assert pace.is_due(0, "a")
    pace.note(0, "a")

    assert not pace.is_due(4.9, "b")
    assert pace.wait_s(4, "b") == 1
    assert pace.is_due(5, "b")


def test_reports_of_a_long_job_are_few():
    pace, now, reports = ReportPace(5), 0.0, 0
    while now < 86400:
        if pace.is_due(now, now):
            pace.note(now, now)
            reports += 1
        now += 1

    assert reports < 900  # every second there was something new, for a day
    assert pace.wait_s(now, now) <= 100


@pytest.mark.parametrize("interval", [0, 0.5])
def test_short_intervals_are_taken_as_they_are(interval):
    pace = ReportPace(interval)
    pace.note(0, "a")

    assert pace.is_due(interval, "b")
