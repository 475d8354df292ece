from __future__ import annotations

import itertools

import pytest

from air_executor.client import JobView
from air_executor.core.states import JobState
from air_executor.errors import InvalidNameError
from air_executor.web.selection import TaskOrder, make_timeline, match_jobs, match_tasks, sort_tasks
from tests.support.jobs import at
from tests.unit.web.conftest import ran, record


def job(name: str, **labels: str) -> JobView:
    return JobView(id="1", name=name, state=JobState.WORKING, created_at=at(0), updated_at=at(0), labels=labels)


JOBS = [
    job("nightly-1", dag_id="load", run_id="manual__2025-10-02T07:30:00+00:00"),
    job("nightly-2", dag_id="Export", log_path="/var/log/load"),
    job("weekly", dag_id="load"),
]


@pytest.mark.parametrize(
    ("name", "q", "labels", "expected"),
    [
        (None, None, [], ["nightly-1", "nightly-2", "weekly"]),
        ("nightly-*", None, [], ["nightly-1", "nightly-2"]),
        ("nightly-[!1]", None, [], ["nightly-2"]),
        (None, "NIGHT", [], ["nightly-1", "nightly-2"]),
        (None, "export", [], ["nightly-2"]),
        (None, "var/log", [], []),
        (None, None, ["dag_id:load"], ["nightly-1", "weekly"]),
        (None, None, ["dag_id:load", "run_id:manual__2025-10-02T07:30:00+00:00"], ["nightly-1"]),
        (None, None, ["dag_id:"], []),
        ("nightly-*", "load", ["dag_id:load"], ["nightly-1"]),
    ],
)
def test_jobs_match_all_that_is_given(name: str | None, q: str | None, labels: list[str], expected: list[str]) -> None:
    assert [each.name for each in match_jobs(JOBS, name, q, labels)] == expected


def test_a_label_without_a_colon_is_refused() -> None:
    with pytest.raises(InvalidNameError, match="KEY:VALUE"):
        match_jobs(JOBS, None, None, ["dag_id"])


@pytest.mark.parametrize("q", ["THIS-id", "make", "--All", "exit code 3"])
def test_tasks_are_searched_in_what_people_know_of_them(q: str) -> None:
    task = ran("this-id", "failed", command="/usr/bin/make", args=("--all",), error="exit code 3")

    assert match_tasks([task, record("other")], q) == [task]


def test_orders() -> None:
    tasks = [
        record("never"),
        ran("long", start=3, took=9),
        ran("runs", "running", start=2),
        ran("broken", "failed", start=1, took=1),
    ]

    def ids(order: str, *, descending: bool = False) -> list[str]:
        return [task.id for task in sort_tasks(tasks, TaskOrder(order), at(6), descending=descending)]

    assert ids("position") == ["never", "long", "runs", "broken"]
    assert ids("position", descending=True) == ["broken", "runs", "long", "never"]
    assert ids("started") == ["broken", "runs", "long", "never"]
    assert ids("started", descending=True) == ["long", "runs", "broken", "never"]
    assert ids("duration") == ["broken", "runs", "long", "never"]
    assert ids("duration", descending=True) == ["long", "runs", "broken", "never"]
    assert ids("status") == ["broken", "runs", "never", "long"]


def test_a_timeline_has_what_started_in_order() -> None:
    timeline = make_timeline([ran("second", start=2), record("never"), ran("first", "running", start=1)], 10)

    assert [(span.id, span.status.value, span.completed_at) for span in timeline.tasks] == [
        ("first", "running", None),
        ("second", "completed", at(3)),
    ]
    assert timeline.total == 2


def test_a_long_timeline_is_thinned_evenly_and_keeps_both_ends() -> None:
    timeline = make_timeline([ran(str(number), start=number) for number in range(1000)], 11)

    numbers = [int(span.id) for span in timeline.tasks]
    assert timeline.total == 1000
    assert (len(numbers), numbers[0], numbers[-1]) == (11, 0, 999)
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    assert max(steps) - min(steps) <= 1
