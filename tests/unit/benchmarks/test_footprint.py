from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from benchmarks import footprint
from benchmarks.footprint import lowest_of, read_footprint

HOLDS_THINGS = "files = [open('/dev/null') for _ in range(20)]; print(flush=True); input()"


class Processes:
    def of_executor(self) -> list[psutil.Process]:
        return []

    def engine_pids(self) -> list[int]:
        return []


class Site:
    def __init__(self, pid: int, base_path: Path) -> None:
        self._pid = pid
        self.base_path = self.temporary = base_path
        self.processes_by_role = Processes()

    def pid(self, _: str) -> int:
        return self._pid

    def manager_pid(self) -> int | None:
        return None

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self._pid)]


def read(base_path: Path, pid: int = 0, keep_finished_s: float = 30) -> dict[str, float]:
    return read_footprint(cast(Any, Site(pid or os.getpid(), base_path)), keep_finished_s)


def test_what_a_process_holds_is_counted(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDS_THINGS]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        held = read(tmp_path / "none", process.pid)
        process.communicate(b"\n")
    assert held["scheduler: open descriptors"] >= 23
    assert 0 < held["scheduler: memory of its own, MiB"] <= held["scheduler: memory with program files, MiB"]
    assert held["threads of these"] == 1
    assert held["processes of the whole site"] == 1


def test_finished_jobs_count_only_beyond_their_time(tmp_path: Path) -> None:
    for name in ("jobs/new", "jobs/old", "run"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("jobs/new/state.json", "jobs/old/state.json", "run/spool.jsonl", "manager.log", "manager.log.1"):
        (tmp_path / name).write_text("x" * 1024)
    long_ago = time.time() - 1000
    os.utime(tmp_path / "jobs" / "old", (long_ago, long_ago))
    held = read(tmp_path)
    assert held["finished jobs beyond their time"] == 1
    assert held["manager.log, KiB"] == 2
    assert held["spools of fork servers, KiB"] == 1
    more = tmp_path / "requests"
    more.mkdir()
    (more / "left").touch()
    assert read(tmp_path)["files and directories under the base path"] == (
        held["files and directories under the base path"] + 2
    )


def test_what_comes_and_goes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_PAUSE_S", 0)
    seen = iter([{"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, {"a": 5.0}, {"a": 2.0, "b": 1.0}, {"a": 4.0, "b": 1.0}])
    assert lowest_of(lambda: next(seen)) == {"a": 2, "b": 0}
