"""The journal gives back what was written, drops what was never finished, and says so when its middle is damaged."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from air_executor.core.events import AnyEvent, JobFinished, TasksQueued, ViewWritten
from air_executor.core.states import JobState
from air_executor.errors import DamagedFileError
from air_executor.store.journal import Journal, replay
from tests.support.jobs import T0 as NOW
from tests.support.jobs import accepted, at, ended, launched, task

EVENTS: list[AnyEvent] = [
    accepted(max_parallel=2),
    TasksQueued(at=NOW, tasks=(task("a", env={"A": "ä\n"}), task("b", "a", retries=2))),
    ViewWritten(at=NOW, inode=2**63, mtime_ns=2**62),
    launched("a"),
    ended("a", error="line\nline\x1b[0m", killed=("sleep (7)",)),
    JobFinished(at=at(9), state=JobState.COMPLETED),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def write(path: Path, *events: AnyEvent, durable: bool = False) -> Journal:
    journal = Journal(path, durable=durable)
    for event in events:
        journal.add(event)
    journal.flush()
    return journal


def test_no_journal_holds_no_events(path: Path) -> None:
    assert replay(path) == ([], 0)


@pytest.mark.parametrize("durable", [True, False])
def test_what_was_written_comes_back(path: Path, durable: bool) -> None:
    journal = Journal(path, durable=durable)
    for event in EVENTS:
        journal.add(event)
        journal.flush()
    assert replay(path) == (EVENTS, path.stat().st_size)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_goes_on_where_it_ended(path: Path) -> None:
    write(path, *EVENTS[:3])
    _, size = replay(path)
    journal = Journal(path, durable=True, size=size)
    for event in EVENTS[3:]:
        journal.add(event)
    journal.flush()
    assert replay(path)[0] == EVENTS


def test_cut_off_at_any_byte_it_keeps_every_whole_line(path: Path) -> None:
    write(path, *EVENTS)
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        events, size = replay(path)
        assert events == EVENTS[: content[:length].count(b"\n")]
        journal = Journal(path, durable=False, size=size)
        journal.add(EVENTS[-1])
        journal.flush()
        assert replay(path)[0] == [*events, EVENTS[-1]], length


def test_a_flipped_byte_is_never_read_as_something_else(path: Path) -> None:
    write(path, *EVENTS)
    content = path.read_bytes()
    last_line = content.rindex(b"\n", 0, -1) + 1
    refused = 0
    for position in range(len(content)):
        for flip in (0x01, 0x20, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            try:
                events = replay(path)[0]
            except DamagedFileError:
                refused += 1
                continue
            # What is damaged at the end looks like a torn write; elsewhere only the case of a checksum's digit is no damage.
            spared = 0 if position < last_line - 1 else 2
            assert len(events) >= len(EVENTS) - spared
            assert events == EVENTS[: len(events)]
    assert refused > last_line


def test_a_damaged_middle_names_file_line_and_remedy(path: Path) -> None:
    write(path, *EVENTS)
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"', 1))
    with pytest.raises(
        DamagedFileError, match=f"{path}: line 2 is damaged; restore the file, or remove it to start from"
    ):
        replay(path)


def test_zeros_that_a_power_cut_leaves_at_the_end_are_dropped(path: Path) -> None:
    write(path, *EVENTS)
    size = path.stat().st_size
    for tail in (b"\0" * 4096, b"\0" * 100 + b"\n" + b"\0" * 50, b"0000", b"zzz\nyyy\n"):
        write(path, *EVENTS)
        with path.open("ab") as file:
            file.write(tail)
        assert replay(path) == (EVENTS, size)


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_only_a_plain_file_is_a_journal(path: Path, kind: str) -> None:
    if kind == "link":
        write(path.with_name("other"), *EVENTS)
        path.symlink_to(path.with_name("other"))
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(DamagedFileError, match="plain file"):
        replay(path)


@pytest.mark.parametrize("call", ["write", "fdatasync", "ftruncate", "open"])
def test_a_write_that_failed_is_repeated_whole(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    journal = write(path, *EVENTS[:2], durable=True)
    journal.add(EVENTS[2])
    real = getattr(os, call)

    def failing(*args: object, **kwargs: object) -> object:
        if call == "write":
            # The disk takes a part of it first.
            real(args[0], bytes(args[1])[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "ftruncate":
        with path.open("ab") as file:
            file.write(b"part of a line that was refused")
    for _ in range(3):
        monkeypatch.setattr(os, call, failing)
        with pytest.raises(OSError, match="No space left"):
            journal.flush()
        monkeypatch.undo()
    assert replay(path)[0] in (EVENTS[:2], EVENTS[:3])
    journal.add(EVENTS[3])
    journal.flush()
    assert replay(path) == (EVENTS[:4], path.stat().st_size)


def test_short_writes_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    write(path, *EVENTS)
    monkeypatch.undo()
    assert replay(path)[0] == EVENTS


def test_a_failed_sync_of_the_directory_is_made_up_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path, durable=True)
    journal.add(EVENTS[0])
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "EIO")))
    with pytest.raises(OSError, match="EIO"):
        journal.flush()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal.flush()
    assert synced
    assert replay(path)[0] == EVENTS[:1]


def test_it_is_never_written_through_a_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("mine")
    path.symlink_to(victim)
    journal = Journal(path, durable=False)
    journal.add(EVENTS[0])
    with pytest.raises(OSError, match="symbolic links"):
        journal.flush()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("accident", ["shortened", "emptied", "removed", "another"])
def test_a_file_that_is_shorter_than_it_was_is_never_filled_up_with_zeros(path: Path, accident: str) -> None:
    journal = write(path, *EVENTS[:3])
    if accident in ("removed", "another"):
        path.unlink()
    if accident == "shortened":
        os.truncate(path, path.stat().st_size - 10)
    elif accident == "emptied":
        os.truncate(path, 0)
    elif accident == "another":
        write(path, EVENTS[0])
    before = path.read_bytes() if path.exists() else b""
    for event in EVENTS[3:]:
        journal.add(event)
    with contextlib.suppress(OSError, DamagedFileError):
        journal.flush()
    after = path.read_bytes() if path.exists() else b""
    assert b"\0" not in after
    if accident == "another":
        assert after == before
