"""The token in a workload gets a task into Airflow's API: it may be in one file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.core, pytest.mark.only_air]

TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")


def files_with_token(*directories: Path) -> list[Path]:
    found = []
    for directory in directories:
        for path in directory.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink() and TOKEN.search(path.read_bytes()):
                    found.append(path)
    return found


def processes_with_token(stage) -> list[str]:
    found = []
    for process in stage.site.processes():
        for kind in ("cmdline", "environ"):
            with contextlib.suppress(psutil.Error, OSError):
                if TOKEN.search(Path(f"/proc/{process.pid}/{kind}").read_bytes()):
                    found.append(f"{kind} of {process}")
    return found


def test_token_is_nowhere_but_in_a_file_of_its_owner(stage):
    root = stage.site.base_path
    manager = stage.site.wait_for_manager()
    # With the manager stopped, workloads stay where they were put, and can be looked at.
    os.kill(manager, signal.SIGSTOP)
    try:
        run = stage.api.trigger("held")
        waiting = wait_until(
            lambda: files_with_token(root), lambda seen: len(seen) >= 4, timeout_s=60, interval_s=0.2, what="workloads"
        )
        assert {stat.S_IMODE(path.stat().st_mode) for path in waiting} == {0o600}
        assert all(path.parent.parent.parent == root for path in waiting), waiting
        assert {path.name for path in waiting}.isdisjoint({"state.json", "tasks.json"})
        assert processes_with_token(stage) == []
    finally:
        os.kill(manager, signal.SIGCONT)
    try:
        stage.ledger.wait_for("held", run, "start", 4)

        assert processes_with_token(stage) == []
        assert files_with_token(root, stage.site.logs, stage.site.directory / "task-logs") == []
    finally:
        stage.release(run)
    assert stage.api.wait_for_run("held", run) == "success"


def test_no_ended_job_keeps_its_workload(stage):
    stage.api.wait_for_run("kinds", stage.runs["kinds"])

    assert list((stage.site.base_path / "jobs").iterdir()), "the tasks of `kinds` were no jobs"
    wait_until(lambda: files_with_token(stage.site.base_path), lambda seen: seen == [], what="workloads to be removed")


def test_root_is_closed_to_others(stage):
    stage.api.wait_for_run("kinds", stage.runs["kinds"])

    open_to_others = [
        path for path in stage.site.base_path.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    assert stat.S_IMODE(stage.site.base_path.stat().st_mode) == 0o700
    assert open_to_others == []
