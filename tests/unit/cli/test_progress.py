from __future__ import annotations

from datetime import datetime, timezone

from air_executor.cli.progress import describe_counts
from air_executor.client import JobView
from air_executor.core.progress import Rate
from air_executor.core.states import JobState


def view(**counts: int) -> JobView:
    at = datetime(2025, 10, 2, tzinfo=timezone.utc)
    return JobView(id="j", name="j", state=JobState.WORKING, created_at=at, updated_at=at, tasks=counts)


def test_nothing_is_said_of_the_rate_before_it_is_known() -> None:
    rate = Rate()
    rate.note(0, 0)
    assert rate.per_second() is None
    assert rate.left_s(5) is None
    assert describe_counts(view(total=5, running=2), rate) == "0/5, 2 running"


def test_rate_and_time_left_follow_the_last_seconds() -> None:
    rate = Rate()
    for second in range(60):
        rate.note(second, second * 10 if second < 30 else 300 + (second - 30) * 2)
    assert rate.per_second() == 2
    assert rate.left_s(100) == 50


def test_tasks_that_are_run_again_do_not_make_the_rate_negative() -> None:
    rate = Rate()
    rate.note(0, 50)
    rate.note(1, 40)
    assert rate.per_second() is None
    rate.note(2, 45)
    assert rate.per_second() == 5


def test_counts_name_what_went_wrong() -> None:
    rate = Rate()
    rate.note(0, 0)
    rate.note(2, 5)
    text = describe_counts(view(total=10, running=1, completed=3, failed=1, skipped=1), rate)
    assert text == "5/10, 1 running, 1 failed, 1 skipped, 2.5/s, 2.0s left"
