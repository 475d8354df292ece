"""What people ask of the history, and what they want removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from air_executor.config import HISTORY_VARIABLE
from air_executor.core.events import JobFinished, Outcome, TasksQueued
from air_executor.core.states import JobState
from air_executor.errors import HistoryError
from air_executor.history import tables
from air_executor.history.database import Database
from air_executor.history.queries import History
from air_executor.history.recorder import Recorder
from air_executor.store.root import Root
from tests.support.history import read_table
from tests.support.jobs import at, ended, launched, task
from tests.unit.history.conftest import Journals, accepted


@pytest.fixture
def history(
    journals: Journals, root: Root, recorder: Recorder, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[History]:
    """Return a history of three jobs: one of them goes on."""
    for number, name in enumerate(("nightly-1", "nightly_2", "Nightly-3")):
        queued = TasksQueued(at=at(0), tasks=(task("a", retries=1), task("b")))
        journals.write(name, accepted(name, dag_id=f"dag-{number % 2}"), queued, launched("a"), launched("b", 1, 2))
        failed = ended("a", Outcome.FAILED, at=at(5), started_at=at(1), exit_code=2, retry_at=at(5))
        journals.write(name, failed, ended("b", at=at(2 + number * 10), started_at=at(2)))
        journals.write(name, launched("a", 2, 6), ended("a", at=at(7), attempt=2, started_at=at(6)))
    journals.write("nightly-1", JobFinished(at=at(100), state=JobState.COMPLETED))
    journals.write("nightly_2", JobFinished(at=at(200), state=JobState.FAILED, error="for a test"))
    recorder.record()
    if url is not None:
        monkeypatch.setenv(HISTORY_VARIABLE, url)
    records = History(root, read_only=False)
    yield records
    records.close()


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["job_name"] for row in rows]


def test_runs_are_found_by_name_state_age_and_label(history: History) -> None:
    assert set(names(history.runs())) == {"nightly-1", "nightly_2", "Nightly-3"}
    assert names(history.runs(limit=1)) == names(history.runs())[:1]
    assert set(names(history.runs(name="nightly*"))) == {"nightly-1", "nightly_2"}
    assert names(history.runs(name="nightly_?")) == ["nightly_2"]
    assert set(names(history.runs(name="[nN]ightly-*"))) == {"nightly-1", "Nightly-3"}
    assert names(history.runs(name="nightly-1")) == ["nightly-1"]
    assert names(history.runs(name="nightly")) == []
    assert set(names(history.runs(states=("completed", "failed")))) == {"nightly-1", "nightly_2"}
    assert names(history.runs(since=at(150))) == ["nightly_2"]
    assert names(history.runs(labels={"dag_id": "dag-1"})) == ["nightly_2"]
    assert history.runs(labels={"dag_id": "dag-1", "owner": "me"}) == []


def test_a_run_has_all_that_belongs_to_it(history: History) -> None:
    [run] = history.runs(name="nightly_2")
    assert run["created_at"].tzinfo is not None
    assert (run["state"], run["error"], run["duration_s"]) == ("failed", "for a test", 200)
    assert history.labels(run["run_id"]) == {"dag_id": "dag-1"}
    assert [each["task_id"] for each in history.tasks(run["run_id"])] == ["a", "b"]
    attempts = [(each["task_id"], each["attempt"]) for each in history.attempts(run["run_id"])]
    assert attempts == [("a", 1), ("b", 1), ("a", 2)]
    assert history.progress(run["run_id"])[-1]["completed_tasks"] == 2
    assert "journal_checksum" not in run


def test_the_slowest_come_first(history: History) -> None:
    found = history.slowest(name=None, since=None, limit=2)
    assert [(each["job_name"], each["task_id"], each["duration_s"]) for each in found] == [
        ("Nightly-3", "b", 20),
        ("nightly_2", "b", 10),
    ]
    assert names(history.slowest(name="nightly-1", since=at(6), limit=9)) == ["nightly-1"]


def test_failures_are_counted(history: History) -> None:
    [found] = history.failures(name=None, since=None, limit=9)
    assert (found["command"], found["outcome"], found["attempts"], found["runs"]) == ("true", "failed", 3, 3)
    assert found["last_at"] == at(5)
    assert history.failures(name="*", since=at(6), limit=9) == []


def test_a_query_reads(history: History, root: Root) -> None:
    reading = History(root)
    columns, rows = reading.select("SELECT job_name FROM air_executor_jobs WHERE job_name LIKE '%2' AND 1 % 2 = 1")
    assert (columns, rows) == (["job_name"], [("nightly_2",)])
    with pytest.raises(HistoryError, match="syntax"):
        reading.select("SELECT FROM WHERE")
    reading.close()


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM air_executor_jobs", "DROP TABLE air_executor_progress", "CREATE TABLE mine (x int)"],
)
def test_a_query_changes_nothing(history: History, root: Root, database: Database, statement: str) -> None:
    reading = History(root)
    with pytest.raises(HistoryError, match=r"read-?only"):
        reading.select(statement)
    reading.close()
    assert len(read_table(database, tables.jobs)) == 3


def test_what_ended_long_ago_is_removed_whole(history: History, database: Database) -> None:
    assert history.prune(at(150), dry_run=True) == 1
    assert len(history.runs()) == 3
    assert history.prune(at(150)) == 1
    assert set(names(history.runs())) == {"nightly_2", "Nightly-3"}
    left = {run["run_id"] for run in history.runs()}
    for table in (tables.labels, tables.tasks, tables.attempts, tables.progress):
        assert {row["run_id"] for row in read_table(database, table)} == left
    # One that is not over stays, however old.
    assert history.prune(at(10_000)) == 1
    assert names(history.runs()) == ["Nightly-3"]
