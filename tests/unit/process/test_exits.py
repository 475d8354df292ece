"""Collecting what fell to this process: a runner's exit, and never that of another child which has its pid by now."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from air_executor.process.exits import collect
from air_executor.process.identity import ProcessIdentity, identify
from air_executor.process.tree import AttemptTree
from tests.support.waiting import wait_until


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def identity_of(child: subprocess.Popen[bytes]) -> ProcessIdentity:
    identity = identify(child.pid)
    assert identity is not None
    return identity


def let_exit(child: subprocess.Popen[bytes]) -> None:
    """Let it exit, and leave it to be waited for."""
    child.stdin.write(b"\n")
    child.stdin.flush()
    wait_until(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), what="its exit")


def tree(tmp_path: Path, runner: ProcessIdentity | None) -> AttemptTree:
    return AttemptTree(attempt_id="j/i/t/1", log_path=str(tmp_path / "t.1.log"), runner=runner)


def test_the_exit_of_a_runner_is_collected(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    runner = tree(tmp_path, identity_of(child))
    assert collect(runner) is None
    let_exit(child)
    found = collect(runner)
    assert found is not None
    assert (found.attempt_id, found.exit_code, found.signal) == ("j/i/t/1", 7, None)
    with pytest.raises(ChildProcessError):
        collect(runner)


@pytest.mark.parametrize("has_exited", [True, False])
@pytest.mark.parametrize("other", ["start", "boot"])
def test_the_exit_of_another_child_of_that_pid_stays_for_its_owner(
    child: subprocess.Popen[bytes], tmp_path: Path, other: str, has_exited: bool
) -> None:
    identity = identity_of(child)
    if other == "start":
        stranger = msgspec.structs.replace(identity, start_ticks=identity.start_ticks - 1)
    else:
        stranger = msgspec.structs.replace(identity, boot_id="another")
    if has_exited:
        let_exit(child)
    with pytest.raises(ChildProcessError):
        collect(tree(tmp_path, stranger))
    if not has_exited:
        assert child.poll() is None
        let_exit(child)
    assert child.wait() == 7


def test_without_a_known_runner_nothing_is_collected(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    let_exit(child)
    with pytest.raises(ChildProcessError):
        collect(tree(tmp_path, None))
    assert child.wait() == 7


def test_a_runner_that_was_killed_is_collected_with_its_signal(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    runner = tree(tmp_path, identity_of(child))
    child.send_signal(signal.SIGKILL)
    found = wait_until(lambda: collect(runner), what="its end")
    assert (found.exit_code, found.signal) == (None, signal.SIGKILL)
