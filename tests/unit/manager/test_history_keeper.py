"""The manager's part in the history: nothing of it may hurt a job, and nothing is started in vain."""

from __future__ import annotations

import itertools
import os
from typing import Any, ClassVar

import pytest

from air_executor.config import HISTORY_AIRFLOW_VARIABLE, HISTORY_VARIABLE
from air_executor.manager import history_keeper
from air_executor.manager.history_keeper import HistoryKeeper
from air_executor.store.backlog import kept_journals
from air_executor.store.history_status import HistoryStatus, write_history_status
from air_executor.store.records import utc_now
from air_executor.store.root import Root
from tests.unit.manager.conftest import Clock


class FakeWriter:
    """Stands for the process."""

    started: ClassVar[list[FakeWriter]] = []

    def __init__(self, module: str, arguments: list[str], *, log_path: str, environment: dict[str, str]) -> None:
        self.environment, self.arguments = environment, arguments
        self.wakes, self.is_finishing, self.is_gone = 0, False, False
        self.started.append(self)

    def wake(self) -> None:
        self.wakes += 1

    def finish(self) -> None:
        self.is_finishing = True

    def has_exited(self) -> bool:
        return self.is_gone


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[FakeWriter]:
    monkeypatch.setattr(history_keeper, "Companion", FakeWriter)
    monkeypatch.setattr(FakeWriter, "started", [])
    return FakeWriter.started


@pytest.fixture
def keeper(root: Root, writers: list[FakeWriter], clock: Clock) -> HistoryKeeper:
    keeper = HistoryKeeper(root)
    keeper.switch(on=True)
    return keeper


def write(root: Root, keeper: HistoryKeeper, name: str = "job", *, is_kept: bool = False) -> bool:
    root.job(name).mkdir(exist_ok=True)
    (root.job(name) / "journal").touch()
    return keeper.note_flush(name, is_kept=is_kept, durable=True)


def advance(keeper: HistoryKeeper, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    keeper.advance()


def test_switched_off_nothing_is_kept_and_nothing_started(root: Root, writers: list[FakeWriter], clock: Clock) -> None:
    keeper = HistoryKeeper(root)
    keeper.switch(on=False)
    assert not write(root, keeper)
    advance(keeper, clock, 1000)
    assert (writers, keeper.next_due(), root.history.exists()) == ([], None, False)


def test_idle_there_is_no_writer(keeper: HistoryKeeper, writers: list[FakeWriter], clock: Clock) -> None:
    advance(keeper, clock, 1000)
    assert (writers, keeper.next_due()) == ([], None)


def test_a_journal_is_kept_once_and_a_writer_started_woken_and_let_go(
    root: Root, keeper: HistoryKeeper, writers: list[FakeWriter], clock: Clock
) -> None:
    assert write(root, keeper)
    assert write(root, keeper, is_kept=True)
    assert [each.job_name for each in kept_journals(root)] == ["job"]
    assert keeper.next_due() == clock.now + 0.5
    advance(keeper, clock, 0.4)
    assert writers == []
    advance(keeper, clock, 0.2)
    [writer] = writers
    assert writer.arguments == ["--base-path", str(root.path)]
    write(root, keeper, is_kept=True)
    advance(keeper, clock, 1)
    assert (writer.wakes, writer.is_finishing) == (1, False)
    advance(keeper, clock, 19)
    assert not writer.is_finishing
    advance(keeper, clock, 2)
    assert writer.is_finishing
    writer.is_gone = True
    advance(keeper, clock, 100)
    assert (len(writers), keeper.next_due()) == (1, None)


def test_news_while_a_writer_leaves_starts_the_next_one(
    root: Root, keeper: HistoryKeeper, writers: list[FakeWriter], clock: Clock
) -> None:
    write(root, keeper)
    advance(keeper, clock, 1)
    advance(keeper, clock, 21)
    write(root, keeper, is_kept=True)
    advance(keeper, clock, 1)
    assert (len(writers), writers[0].wakes) == (1, 0)
    writers[0].is_gone = True
    advance(keeper, clock, 1)
    advance(keeper, clock, 1)
    assert len(writers) == 2


def test_what_an_earlier_manager_left_is_recorded_also_when_switched_off(
    root: Root, keeper: HistoryKeeper, writers: list[FakeWriter], clock: Clock
) -> None:
    write(root, keeper)
    later = HistoryKeeper(root)
    later.switch(on=False)
    advance(later, clock, 1)
    assert len(writers) == 1


def test_a_database_that_cannot_be_reached_is_told_once_and_tried_ever_more_rarely(
    root: Root, keeper: HistoryKeeper, writers: list[FakeWriter], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    write_history_status(root, HistoryStatus(at=utc_now(), database="db", error="no such host"))
    write(root, keeper)
    tries_at: list[float] = []
    for _ in range(2000):
        advance(keeper, clock, 0.5)
        if len(writers) > len(tries_at):
            tries_at.append(clock.now)
            writers[-1].is_gone = True
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tries_at)]
    assert pauses[1:5] == [10, 20, 40, 80]
    assert max(pauses) <= 301
    assert caplog.text.count("no such host") == 1
    write_history_status(root, HistoryStatus(at=utc_now(), database="db"))
    advance(keeper, clock, 301)
    advance(keeper, clock, 21)
    writers[-1].is_gone = True
    caplog.set_level("INFO")
    advance(keeper, clock, 1)
    assert "recorded again" in caplog.text


def test_a_journal_that_cannot_be_kept_is_told_and_tried_again(
    root: Root, keeper: HistoryKeeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fail)
        assert not write(root, keeper)
        assert not write(root, keeper)
    assert caplog.text.count("No space left") == 1
    assert write(root, keeper)


def test_a_directory_that_cannot_be_trusted_is_told(
    root: Root, writers: list[FakeWriter], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    root.history.symlink_to("/tmp")
    keeper = HistoryKeeper(root)
    keeper.switch(on=True)
    assert "symbolic link" in caplog.text
    assert not write(root, keeper)


@pytest.mark.parametrize("name", [HISTORY_VARIABLE, HISTORY_AIRFLOW_VARIABLE])
def test_the_address_is_for_the_writer_alone(
    root: Root, writers: list[FakeWriter], clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "postgresql://me:sesame@host/db")
    keeper = HistoryKeeper(root)
    assert name not in os.environ
    keeper.switch(on=True)
    write(root, keeper)
    advance(keeper, clock, 1)
    assert writers[0].environment[name] == "postgresql://me:sesame@host/db"
    assert "sesame" not in str(writers[0].arguments)


def test_a_directory_that_somebody_removed_is_made_again(root: Root, keeper: HistoryKeeper) -> None:
    root.history.rmdir()
    assert write(root, keeper)
    assert len(kept_journals(root)) == 1
