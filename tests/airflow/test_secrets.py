"""Secrets stay where only their owner can read them.

The token in a workload gets a task into Airflow's API: it is in one file, for as long as the task waits. What the scheduler's
environment holds is in one file too, and in the environments of processes.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.airflow.conftest import CANARY
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.core, pytest.mark.only_air]

TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")


ENVIRONMENT_SECRET = re.compile(re.escape(CANARY).encode())


def files_with(secret: re.Pattern[bytes], *directories: Path) -> list[Path]:
    found = []
    for directory in directories:
        for path in directory.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink() and secret.search(path.read_bytes()):
                    found.append(path)
    return found


def processes_with(secret: re.Pattern[bytes], stage, *kinds: str) -> list[str]:
    found = []
    for process in stage.site.processes():
        for kind in kinds:
            with contextlib.suppress(psutil.Error, OSError):
                if secret.search(Path(f"/proc/{process.pid}/{kind}").read_bytes()):
                    found.append(f"{kind} of {process}")
    return found


def all_files_with(secret: re.Pattern[bytes], stage) -> list[Path]:
    """Return the files of the root, and the logs of Airflow, that hold a secret."""
    return files_with(secret, stage.site.base_path, stage.site.logs, stage.site.directory / "task-logs")


def assert_only_environments_hold_the_secret_of_the_environment(stage):
    environments = stage.site.base_path / "environments"
    holders = all_files_with(ENVIRONMENT_SECRET, stage)
    assert holders, "the search finds nothing at all"
    assert {path.parent for path in holders} == {environments}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
    assert processes_with(ENVIRONMENT_SECRET, stage, "cmdline") == []


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """With the manager stopped, workloads stay where they were put, and can be looked at."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_for_workloads(stage, count: int) -> list[Path]:
    return wait_until(
        lambda: files_with(TOKEN, stage.site.base_path),
        lambda seen: len(seen) >= count,
        timeout_s=60,
        interval_s=0.2,
        what="workloads",
    )


def test_secrets_are_nowhere_but_in_files_of_their_owner(stage):
    root = stage.site.base_path
    with stopped(stage.site.wait_for_manager()):
        run = stage.api.trigger("held")
        waiting = wait_for_workloads(stage, 4)
        assert {stat.S_IMODE(path.stat().st_mode) for path in waiting} == {0o600}
        assert all(path.parent.parent.parent == root for path in waiting), waiting
        assert {path.name for path in waiting} == {"workload.json"}
        assert processes_with(TOKEN, stage, "cmdline", "environ") == []
        assert_only_environments_hold_the_secret_of_the_environment(stage)
    try:
        stage.ledger.wait_for("held", run, "start", 4)

        assert processes_with(TOKEN, stage, "cmdline", "environ") == []
        assert all_files_with(TOKEN, stage) == []
        assert_only_environments_hold_the_secret_of_the_environment(stage)
    finally:
        stage.release(run)
    stage.api.wait_for_success("held", run)
    assert_only_environments_hold_the_secret_of_the_environment(stage)


def test_no_ended_job_keeps_its_workload(stage):
    stage.api.wait_for_run("kinds", stage.runs["kinds"])

    assert list((stage.site.base_path / "jobs").iterdir()), "the tasks of `kinds` were no jobs"
    wait_until(lambda: files_with(TOKEN, stage.site.base_path), lambda seen: seen == [], what="workloads to be removed")
    assert list((stage.site.base_path / "jobs").glob("*/workload.json")) == []


def test_no_job_that_was_cancelled_before_it_started_keeps_its_workload(stage):
    # What a revoked task instance leaves is cancelled in the same way.
    with stopped(stage.site.wait_for_manager()):
        run = stage.api.trigger("held")
        waiting = wait_for_workloads(stage, 4)
        cancelled = waiting[:2]
        stage.site.air_executor("cancel", *(path.parent.name for path in cancelled))
        assert all(path.exists() for path in cancelled)
    try:
        wait_until(
            lambda: [path for path in cancelled if path.exists()],
            lambda seen: seen == [],
            what="workloads of cancelled jobs to be removed",
        )
        # Cancelled while it runs: the runner has removed it.
        stage.ledger.wait_for("held", run, "start", 2)
        stage.site.air_executor("cancel", "--wait", waiting[2].parent.name)
    finally:
        stage.release(run)
    assert stage.api.wait_for_run("held", run) == "failed"
    wait_until(lambda: list((stage.site.base_path / "jobs").glob("*/workload.json")), lambda seen: seen == [])
    assert all_files_with(TOKEN, stage) == []


def test_root_is_closed_to_others(stage):
    stage.api.wait_for_run("kinds", stage.runs["kinds"])

    open_to_others = [
        path
        for path in stage.site.base_path.rglob("*")
        # Results of commands have the mode that the commands give them, behind directories that are closed.
        if not path.is_symlink() and path.parent.name != "results" and path.stat().st_mode & 0o077
    ]
    assert stat.S_IMODE(stage.site.base_path.stat().st_mode) == 0o700
    assert open_to_others == []
