"""Journals that grow, are torn, cut and replaced while they are read."""

from __future__ import annotations

import os

import pytest

from air_executor.core.events import AnyEvent, JobFinished, TasksQueued
from air_executor.core.states import JobState
from air_executor.history.journals import JournalChangedError, JournalReader
from tests.support.jobs import at, launched, task
from tests.unit.history.conftest import Journals, accepted

EVENTS: list[AnyEvent] = [
    accepted("job"),
    TasksQueued(at=at(0), tasks=tuple(task(f"task-{number}") for number in range(200))),
    launched("task-1"),
    launched("task-2"),
    JobFinished(at=at(9), state=JobState.COMPLETED),
]


@pytest.fixture
def reader(journals: Journals) -> JournalReader:
    journals.write("job", *EVENTS)
    return JournalReader(str(journals.path("job")))


@pytest.mark.parametrize("limit", [1, 100, 1_000_000])
def test_events_come_in_order_and_each_once(reader: JournalReader, limit: int) -> None:
    found: list[AnyEvent] = []
    while events := reader.read(limit):
        found += events
    assert found == EVENTS


def test_a_torn_line_waits_for_its_end(journals: Journals, reader: JournalReader) -> None:
    content = journals.path("job").read_bytes()
    for size in range(len(content) - 60, len(content)):
        journals.path("job").write_bytes(content[:size])
        whole = JournalReader(str(journals.path("job")))
        assert whole.read() == EVENTS[:-1]
        assert whole.read() == []
        journals.path("job").write_bytes(content)
        assert whole.read() == EVENTS[-1:]


def test_a_reader_goes_on_where_another_one_was(journals: Journals, reader: JournalReader) -> None:
    for count in range(1, len(EVENTS) + 1):
        first = JournalReader(str(journals.path("job")))
        while len(first.read(1)) and first.position.size < len(journals.path("job").read_bytes()) * count / len(EVENTS):
            continue
        second = JournalReader(str(journals.path("job")))
        known = second.read_to(first.position)
        assert known is not None
        assert known + second.read() == EVENTS


def test_a_journal_that_was_cut_is_another_one(journals: Journals, reader: JournalReader) -> None:
    reader.read()
    os.truncate(journals.path("job"), 400)
    with pytest.raises(JournalChangedError):
        reader.read()
    assert JournalReader(str(journals.path("job"))).read_to(reader.position) is None


def test_a_journal_that_was_cut_and_has_grown_beyond_is_another_one(journals: Journals, reader: JournalReader) -> None:
    reader.read()
    content = journals.path("job").read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    journals.path("job").write_bytes(content[:last] + content[:last])
    with pytest.raises(JournalChangedError):
        reader.read()


def test_nothing_comes_of_a_journal_behind_a_damaged_line(journals: Journals, reader: JournalReader) -> None:
    reader.read()
    with journals.path("job").open("ab") as file:
        file.write(b"00000000 {}\n" + journals.path("job").read_bytes())
    assert reader.read() == reader.read() == []


def test_a_journal_that_was_cut_and_written_on_is_another_one(journals: Journals, reader: JournalReader) -> None:
    reader.read()
    content = journals.path("job").read_bytes()
    journals.path("job").write_bytes(content.replace(b"task-2", b"task-3") + content)
    assert JournalReader(str(journals.path("job"))).read_to(reader.position) is None
