"""Forks that start runners, as the process sees them that forks: what may fail there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from air_executor.process import fork_runner
from air_executor.process.children import has_ended
from air_executor.process.fork_runner import NEVER_BEGUN, ForkRunner, GetReady, HeldRunner
from air_executor.process.protocol import Launch
from air_executor.process.reaper import Reaper
from air_executor.process.runner import Inheritance
from tests.support.waiting import wait_until


@pytest.fixture
def inheritance(tmp_path: Path) -> Iterator[Inheritance]:
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield Inheritance(descriptor)
    os.close(descriptor)


def touch(launch: Launch) -> int:
    Path(launch.command).touch()
    return 3


def launch_of(tmp_path: Path) -> Launch:
    return Launch(attempt_id="a/1/1/1", log_path=str(tmp_path / "log"), command=str(tmp_path / "ran"))


def ready_in(directory: Path) -> GetReady:
    def get_ready(descriptor: int) -> Callable[[], None]:
        assert os.path.sameopenfile(descriptor, descriptor)
        (directory / "ready").touch()
        return (directory / "tidy").touch

    return get_ready


def exit_code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_runner_runs_its_target(tmp_path: Path, inheritance: Inheritance, is_ahead: bool) -> None:
    runners = ForkRunner(touch)
    waiting = runners.fork_ahead(()) if is_ahead else None
    pid = runners(launch_of(tmp_path), inheritance)
    assert exit_code_of(pid) == 3
    assert (tmp_path / "ran").exists()
    assert waiting in (None, pid)


def test_one_waits_at_a_time() -> None:
    runners = ForkRunner(touch)
    pid = runners.fork_ahead(())
    assert runners.fork_ahead(()) is None
    runners.dismiss()
    runners.dismiss()
    assert pid is not None
    exit_code_of(pid)


def test_it_gets_ready_before_its_launch_and_tidies_up_after_it(tmp_path: Path, inheritance: Inheritance) -> None:
    runners = ForkRunner(touch, ready_in(tmp_path))
    runners.fork_ahead(())
    wait_until((tmp_path / "ready").exists)
    assert not (tmp_path / "tidy").exists()
    assert exit_code_of(runners(launch_of(tmp_path), inheritance)) == 3
    assert (tmp_path / "tidy").exists()


def test_it_tidies_up_when_it_is_dismissed(tmp_path: Path) -> None:
    runners = ForkRunner(touch, ready_in(tmp_path))
    pid = runners.fork_ahead(())
    runners.dismiss()
    assert (tmp_path / "tidy").exists()
    assert pid is not None
    assert exit_code_of(pid) == 0


def test_stopped_it_is_dismissed_without_being_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_runner, "_DISMISSAL_S", 3600)
    runners = ForkRunner(touch, ready_in(tmp_path))
    pid = runners.fork_ahead(())
    assert pid is not None
    wait_until((tmp_path / "ready").exists)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    runners.dismiss()
    assert has_ended(pid)
    assert exit_code_of(pid) == -signal.SIGKILL
    assert not (tmp_path / "tidy").exists()


def test_a_parent_that_is_gone_before_its_runner_began_leaves_the_task_alone(
    tmp_path: Path, inheritance: Inheritance
) -> None:
    runner = ForkRunner(touch).hold(launch_of(tmp_path), inheritance)
    # What the kernel does with the descriptors of one that was killed.
    runner._endpoint.close()
    assert exit_code_of(runner.pid) == NEVER_BEGUN
    assert not (tmp_path / "ran").exists()


def test_where_nobody_can_be_forked_nobody_waits_and_the_launch_says_why(
    tmp_path: Path, inheritance: Inheritance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", refuse)
    runners = ForkRunner(touch)
    assert runners.fork_ahead(()) is None
    with pytest.raises(BlockingIOError, match="temporarily"):
        runners(launch_of(tmp_path), inheritance)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_new_runner_that_is_killed_before_it_has_its_launch_is_named(
    tmp_path: Path, inheritance: Inheritance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(HeldRunner, "give", break_off)
    with pytest.raises(OSError, match="the runner ended, or was stopped, before it had its launch"):
        ForkRunner(touch)(launch_of(tmp_path), inheritance)
    os.wait()


def test_one_that_was_dismissed_is_no_helper_any_more() -> None:
    runners, reaper = ForkRunner(touch), Reaper()
    pid = runners.fork_ahead(())
    assert pid is not None
    reaper.spare(pid)
    runners.dismiss()
    reaper.take_ended()
    assert pid not in reaper._orphans.helpers
