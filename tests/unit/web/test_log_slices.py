from __future__ import annotations

import os
from pathlib import Path

import pytest

from air_executor.errors import DamagedFileError
from air_executor.web.log_slices import read_slice


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "job" / "logs").mkdir(parents=True)
    return tmp_path / "job" / "logs" / "task.1.log"


def test_a_part_and_where_the_next_begins(log: Path) -> None:
    log.write_bytes(b"0123456789")

    assert read_slice(log, 0, 4) == (b"0123", 10, 4)
    assert read_slice(log, 4, 100) == (b"456789", 10, 10)
    assert read_slice(log, 10, 100) == (b"", 10, 10)
    assert read_slice(log, 99, 100) == (b"", 10, 10)
    assert read_slice(log, -3, 100) == (b"789", 10, 10)
    assert read_slice(log, -99, 4) == (b"0123", 10, 4)
    assert read_slice(log, 0, 0) == (b"", 10, 0)


def test_no_log_is_an_empty_one(log: Path) -> None:
    assert read_slice(log, 0, 10) == (b"", 0, 0)


@pytest.mark.parametrize("limit", range(4, 12))
def test_parts_are_whole_characters(log: Path, limit: int) -> None:
    text = "aé€😀" * 10
    log.write_text(text, encoding="utf-8")
    offset, parts = 0, []
    while part := read_slice(log, offset, limit).content:
        parts.append(part.decode("utf-8"))
        offset = read_slice(log, offset, limit).next_offset

    assert "".join(parts) == text


@pytest.mark.parametrize("count", range(1, 8))
def test_the_end_of_a_log_begins_with_a_whole_character(log: Path, count: int) -> None:
    log.write_text("😀€é😀", encoding="utf-8")

    assert "�" not in read_slice(log, -count, 100).content.decode("utf-8", "replace")


def test_bytes_that_are_no_text_come_as_they_are(log: Path) -> None:
    content = bytes(range(256)) * 3
    log.write_bytes(content)
    offset, got = 0, b""
    while offset < len(content):
        part = read_slice(log, offset, 7)
        assert part.next_offset > offset
        got, offset = got + part.content, part.next_offset

    assert got == content


def test_a_limit_below_a_character_goes_on_all_the_same(log: Path) -> None:
    log.write_text("😀", encoding="utf-8")

    assert read_slice(log, 0, 1).next_offset == 1


@pytest.mark.parametrize("where", ["log", "logs", "job"])
def test_links_lead_nowhere(log: Path, tmp_path: Path, where: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "logs").mkdir(parents=True)
    for path in (elsewhere / "task.1.log", elsewhere / "logs" / "task.1.log"):
        path.write_text("secret")
    if where == "log":
        log.symlink_to(elsewhere / "task.1.log")
    elif where == "logs":
        log.parent.rmdir()
        log.parent.symlink_to(elsewhere)
    else:
        log.parent.rmdir()
        log.parent.parent.rmdir()
        log.parent.parent.symlink_to(elsewhere)

    with pytest.raises(DamagedFileError):
        read_slice(log, 0, 100)


def test_a_pipe_in_the_place_of_a_log_holds_nobody(log: Path) -> None:
    os.mkfifo(log)

    with pytest.raises(DamagedFileError):
        read_slice(log, 0, 100)
