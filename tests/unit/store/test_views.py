"""The views are complete at every moment, and a file that somebody else put in their place is never overwritten unread."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from air_executor.core.events import JobFinished, Outcome, TasksQueued
from air_executor.core.job import Job
from air_executor.core.states import JobState
from air_executor.store.intake import rebuild
from air_executor.store.journal import Journal, replay
from air_executor.store.root import Root
from air_executor.store.views import find_stranger, view_identity, write_views
from tests.support.jobs import T0, accepted, at, ended, launched, task


class Written:
    """A job with its journal on disk."""

    def __init__(self, root: Root, size: int = 3, **options: Any) -> None:
        self.root = root
        self.directory = root.jobs / "job"
        self.directory.mkdir(mode=0o700)
        first = accepted(**options)
        self.job = Job(first)
        self.journal = Journal(self.directory / "journal", durable=True)
        self.journal.add(first)
        self.record(TasksQueued(at=T0, tasks=tuple(task(f"t{n}") for n in range(size))))

    def record(self, event: Any) -> None:
        self.job.apply(event)
        self.journal.add(event)

    def write(self) -> Path | None:
        return write_views(self.root, self.job, self.journal)

    def read(self, name: str) -> Any:
        return json.loads((self.directory / name).read_text())


@pytest.fixture
def written(root: Root) -> Written:
    return Written(root)


def test_what_they_say(written: Written) -> None:
    written.record(launched("t0"))
    written.record(ended("t0", Outcome.FAILED, exit_code=3, cpu_s=0.5, killed=("sleep (7)",)))
    assert written.write() is None
    state, tasks = written.read("state.json"), written.read("tasks.json")
    assert state["tasks"] == {
        "total": 3,
        "pending": 2,
        "running": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
        "skipped": 0,
    }
    assert (state["state"], state["updated_at"]) == ("working", "2025-10-02T07:30:02Z")
    assert tasks[0]["status"] == "failed"
    assert (tasks[0]["exit_code"], tasks[0]["killed"], tasks[0]["error"]) == (3, ["sleep (7)"], "it has failed")
    assert tasks[1] == {
        "id": "t1",
        "command": "true",
        "args": [],
        "dependencies": [],
        "job_name": "job",
        "status": "pending",
        "created_at": "2025-10-02T07:30:00Z",
        "started_at": None,
        "completed_at": None,
        "error": None,
    }
    assert list(written.root.tmp.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 1203])
def test_any_number_of_tasks(root: Root, size: int) -> None:
    written = Written(root, size, is_open=True)
    written.write()
    assert [each["id"] for each in written.read("tasks.json")] == [f"t{n}" for n in range(size)]
    assert (written.directory / "tasks.json").read_bytes().endswith(b"]\n")


def test_the_journal_knows_every_version_before_it_is_there(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        written.write()
        rebuilt = rebuild(replay(written.directory / "journal")[0])
        assert view_identity(written.directory / "tasks.json") in rebuilt.view_identities
        assert find_stranger(written.root, rebuilt) is None
    real = os.rename
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        written.write()
    monkeypatch.setattr(os, "rename", real)
    # Killed between the two files: tasks.json is new, and known.
    assert find_stranger(written.root, rebuild(replay(written.directory / "journal")[0])) is None


def test_a_strangers_file_is_handed_over_unread(written: Written) -> None:
    written.write()
    stranger = written.directory / "mine"
    stranger.write_text('[{"command": "mine"}]')
    os.rename(stranger, written.directory / "tasks.json")
    assert find_stranger(written.root, written.job) == written.directory / "tasks.json"
    path = written.write()
    assert path is not None
    assert json.loads(path.read_text()) == [{"command": "mine"}]
    assert find_stranger(written.root, written.job) is None
    assert len(written.read("tasks.json")) == 3
    path.unlink()
    assert written.write() is None


def test_a_file_changed_in_place_is_a_strangers_too(written: Written) -> None:
    written.write()
    with (written.directory / "tasks.json").open("r+b") as file:
        file.write(b"[\n")
    os.utime(written.directory / "tasks.json", ns=(1, 1))
    assert find_stranger(written.root, written.job) is not None


def test_a_view_that_was_removed_comes_again(written: Written) -> None:
    written.write()
    for name in ("tasks.json", "state.json"):
        (written.directory / name).unlink()
    assert find_stranger(written.root, written.job) is None
    assert written.write() is None
    assert written.read("state.json")["state"] == "waiting"


def test_no_reader_ever_sees_a_part(root: Root) -> None:
    written = Written(root, 300)
    written.write()
    seen = {"tasks.json": 0, "state.json": 0}
    stop = threading.Event()
    errors: list[str] = []

    def read() -> None:
        while not stop.is_set():
            for name in seen:
                try:
                    document = written.read(name)
                except (OSError, ValueError) as error:
                    errors.append(f"{name}: {error}")
                    return
                assert document
                seen[name] += 1

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        written.record(launched(f"t{number}", seconds=number))
        written.write()
    stop.set()
    reader.join()
    assert errors == []
    assert min(seen.values()) > 0


def test_who_reads_the_end_in_state_json_finds_it_in_tasks_json(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(root, 1)
    written.write()
    written.record(launched("t0"))
    written.record(ended("t0"))
    written.record(JobFinished(at=at(3), state=JobState.COMPLETED))
    real = os.rename

    def look_then_rename(source: Any, target: Any) -> None:
        if Path(target).name == "state.json":
            assert written.read("tasks.json")[0]["status"] == "completed"
            assert written.read("state.json")["state"] == "waiting"
        real(source, target)

    monkeypatch.setattr(os, "rename", look_then_rename)
    written.write()
    assert written.read("state.json")["state"] == "completed"


@pytest.mark.parametrize("call", ["write", "fsync", "fdatasync", "rename", "open"])
@pytest.mark.parametrize("number", range(1, 5))
def test_a_disk_that_refuses_leaves_whole_files_and_the_next_write_mends_all(
    written: Written, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    written.write()
    before = {name: written.read(name) for name in ("state.json", "tasks.json")}
    written.record(launched("t0"))
    written.record(ended("t0"))
    written.record(JobFinished(at=at(9), state=JobState.COMPLETED))
    real, calls = getattr(os, call), []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, call, failing)
    try:
        written.write()
    except OSError:
        pass
    monkeypatch.undo()
    assert written.read("state.json")["state"] in (before["state.json"]["state"], "completed")
    assert len(written.read("tasks.json")) == 3
    assert find_stranger(written.root, written.job) is None
    rebuilt = rebuild(replay(written.directory / "journal")[0])
    assert find_stranger(written.root, rebuilt) is None
    assert written.write() is None
    assert written.read("state.json")["state"] == "completed"
    assert written.read("tasks.json")[0]["status"] == "completed"
    assert list(written.root.tmp.iterdir()) == []
