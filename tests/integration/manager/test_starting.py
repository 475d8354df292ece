"""Starting the manager from another process: with and without waiting for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from air_executor.client import AirExecutorClient
from air_executor.config import ATTEMPT_VARIABLES
from air_executor.errors import RootError
from air_executor.manager_process import signal_manager, wait_until_stopped
from air_executor.store.locks import read_manager_pid
from air_executor.store.root import Root
from tests.support.waiting import wait_until


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root.open(tmp_path / "root")
    yield root
    if AirExecutorClient(root.path).manager_is_running():
        signal_manager(root, signal.SIGTERM)
        wait_until_stopped(root, 10)


def test_it_need_not_wait_and_never_starts_two(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    client = AirExecutorClient(root.path)
    spawned = count_spawns(monkeypatch)
    started_at = time.monotonic()
    assert client.ensure_manager() is None
    assert time.monotonic() - started_at < 0.5
    pid = wait_until(client.ensure_manager, what="the manager")
    assert pid == read_manager_pid(root)
    assert client.start_manager() == pid
    assert len(spawned) == 1


def test_a_start_that_failed_is_told_with_its_words_and_then_tried_again(root: Root) -> None:
    client = AirExecutorClient(root.path)

    def fails() -> str | None:
        try:
            client.ensure_manager(slots=-3)
        except RootError as error:
            return str(error)
        return None

    words = wait_until(fails, what="the failure")
    assert words is not None
    assert "--slots" in words
    assert client.ensure_manager(10.0) is not None


def test_one_that_died_is_started_anew_at_once(root: Root) -> None:
    client = AirExecutorClient(root.path)
    former = client.start_manager()
    os.kill(former, signal.SIGKILL)
    wait_until_stopped(root, 10)
    newer = client.ensure_manager(10.0)
    assert newer is not None
    assert newer != former


def count_spawns(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    from air_executor import manager_process

    spawned: list[object] = []
    spawn = manager_process._spawn

    def count(*arguments: object) -> object:
        spawned.append(arguments)
        return spawn(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(manager_process, "_spawn", count)
    return spawned


def test_one_that_a_task_starts_is_no_part_of_that_attempt(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ATTEMPT_VARIABLES:
        monkeypatch.setenv(name, "of another attempt")
    monkeypatch.setenv("OF_THE_PERSON", "kept")
    client = AirExecutorClient(root.path)
    variables = psutil.Process(client.start_manager()).environ()
    assert not ATTEMPT_VARIABLES & variables.keys()
    assert variables["OF_THE_PERSON"] == "kept"


def test_what_an_attempt_gets_of_its_own_is_known(root: Root) -> None:
    client = AirExecutorClient(root.path)
    client.start_manager(rescan_s=0.2)
    client.create_job("names", [{"command": "env"}])
    client.wait("names", 60)
    lines = client.read_log("names", "task-1").decode().splitlines()
    names = {line.partition("=")[0] for line in lines if line.startswith("AIR_EXECUTOR_")}
    assert names == ATTEMPT_VARIABLES | {"AIR_EXECUTOR_BASE_PATH"}
