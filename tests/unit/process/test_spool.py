from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec
import pytest

from air_executor.process.protocol import Ended, NotStarted, Report, Started
from air_executor.process.spool import Spool, read_spool, spool_is_live

STARTED = Started(attempt_id="j/t/1", pid=7, start_ticks=8, boot_id="b", at=1.5, log_path="/l")
ENDED = Ended(attempt_id="j/t/1", at=2.5, exit_code=0, killed=("sleep (9)",))
REPORTS: list[Report] = [STARTED, ENDED, NotStarted(attempt_id="j/u/1", at=3.0, error="no such\nfile ✂")]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "server.jsonl")


def test_what_was_appended_is_read_back_in_order(path: str) -> None:
    spool = Spool(path)
    assert spool.append(REPORTS[:1])
    assert spool.append(REPORTS[1:])
    assert read_spool(path) == REPORTS
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    spool.close()


def test_it_is_live_until_closed(path: str) -> None:
    assert not spool_is_live(path)
    spool = Spool(path)
    assert spool_is_live(path)
    assert not os.get_inheritable(spool.fileno())
    spool.close()
    assert not spool_is_live(path)


def test_a_name_is_used_once(path: str) -> None:
    spool = Spool(path)
    with pytest.raises(FileExistsError):
        Spool(path)
    spool.close()


def test_a_torn_last_line_is_left_out_at_every_byte(path: str, tmp_path: Path) -> None:
    spool = Spool(path)
    spool.append(REPORTS)
    spool.close()
    data = Path(path).read_bytes()
    torn = tmp_path / "torn.jsonl"
    for length in range(len(data) + 1):
        torn.write_bytes(data[:length])
        assert read_spool(str(torn)) == REPORTS[: data[:length].count(b"\n")]


def test_a_damaged_whole_line_is_an_error(path: str) -> None:
    Path(path).write_bytes(b'{"type":"started"}\n')
    with pytest.raises(msgspec.ValidationError, match="attempt_id"):
        read_spool(path)


def test_records_survive_a_full_disk(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(path)
    real_write = os.write
    room = 10

    def write_while_there_is_room(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real_write(descriptor, data[:room])
        room -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_while_there_is_room)
        assert not spool.append(REPORTS[:1])
        assert spool.has_pending
        assert not spool.append(REPORTS[1:2])
    assert read_spool(path) == []
    assert spool.append(REPORTS[2:])
    assert not spool.has_pending
    assert read_spool(path) == REPORTS
    spool.close()
