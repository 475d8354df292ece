"""docs/history.md: each of its queries runs, and its tables are those that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from air_executor.config import HISTORY_VARIABLE
from air_executor.core.events import JobFinished, Outcome, TasksQueued
from air_executor.core.states import JobState
from air_executor.history import tables
from air_executor.history.queries import History
from air_executor.history.recorder import Recorder
from air_executor.store.root import Root
from tests.support.jobs import at, ended, launched, task
from tests.unit.history.conftest import Journals, accepted

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "history.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def history(
    journals: Journals, root: Root, recorder: Recorder, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> History:
    queued = TasksQueued(at=at(0), tasks=(task("a", retries=1), task("b")))
    journals.write("nightly", accepted("nightly", dag_id="etl"), queued, launched("a"), launched("b", 1, 2))
    journals.write("nightly", ended("a", Outcome.FAILED, at=at(3), started_at=at(1), retry_at=at(3), exit_code=1))
    journals.write("nightly", launched("a", 2, 4), ended("a", attempt=2, at=at(5), started_at=at(4), cpu_s=0.5))
    journals.write("nightly", ended("b", at=at(6), started_at=at(2), cpu_s=1.5, peak_memory_bytes=5 * 2**20))
    journals.write("nightly", JobFinished(at=at(7), state=JobState.COMPLETED))
    journals.write("goes-on", accepted("goes-on"), TasksQueued(at=at(0), tasks=(task("a"),)), launched("a"))
    recorder.record()
    if url is not None:
        monkeypatch.setenv(HISTORY_VARIABLE, url)
    return History(root)


def test_every_query_of_the_page_runs_and_finds(history: History) -> None:
    assert len(QUERIES) == 7
    found = [history.select(query) for query in QUERIES]
    history.close()
    for query, (columns, rows) in zip(QUERIES, found, strict=True):
        assert columns, query
        assert rows, query
    progress, runs, commands, retried, ends, memory, unended = (rows for _, rows in found)
    assert progress[0][:4] == (2, 2, 0, 0)
    assert runs[0][1:] == ("completed", 7, 2, 0)
    assert commands == [("true", 2, 2.5, 4, 2)]
    assert retried == [("etl", 2, 1)]
    assert ends[0][:2] == ("failed", 1)
    assert memory == [("nightly", "b", 5)]
    assert unended[0][2:4] == ("goes-on", "working")


def test_every_column_is_described() -> None:
    section = PAGE[PAGE.index("## Tables") : PAGE.index("## Queries")]
    described: dict[str, set[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `air_executor_"):
            table = re.findall(r"`(\w+)`", line)[0]
            described[table] = set(re.findall(r"`(\w+)`", line.split("|")[2].partition(":")[0]))
        elif line.startswith("| `"):
            described[table] |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    assert described == {name: set(table.columns.keys()) for name, table in tables.metadata.tables.items()}
