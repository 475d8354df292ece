"""A process that was forked before gets what a fork would inherit now."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from air_executor.process.connected_fork import fork_connected
from air_executor.process.late_inheritance import (
    BrokenInheritanceError,
    pass_inheritance,
    receive_inheritance,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


class Early:
    """A process that was forked, and tells what it has when it has been passed the rest."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.variables = dict(os.environ)
        self.pid, self.endpoint = fork_connected(self._wait)

    def _wait(self, endpoint: socket.socket) -> NoReturn:
        code = 1
        try:
            inheritance = receive_inheritance(endpoint)
            if inheritance is None:
                os._exit(7)
            inheritance.take_effect()
            found = {
                "variables": dict(os.environ),
                "seen by programs": self._ask_program(),
                "directory": os.stat(".").st_ino,
                "passed": [os.readlink(f"/proc/self/fd/{each}") for each in inheritance.descriptors],
                "is inheritable": [os.get_inheritable(each) for each in inheritance.descriptors],
                "log": [name for name in os.listdir("/proc/self/fd") if self._is_log(name)],
            }
            os.write(1, b"out ")
            os.write(2, b"err")
            self._log.with_name("found").write_text(json.dumps(found))
            code = 0
        except BrokenInheritanceError:
            code = 8
        finally:
            os._exit(code)

    def _ask_program(self) -> list[str]:
        try:
            listed = subprocess.run(["env", "-0"], stdout=subprocess.PIPE, check=True).stdout
        except OSError:
            # No program starts with so large an environment.
            return []
        return [os.fsdecode(entry) for entry in listed.split(b"\0")]

    def _is_log(self, name: str) -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{name}") == str(self._log)
        except OSError:
            return False

    def find(self) -> dict[str, Any]:
        """Wait for its end, return what it has seen."""
        self.endpoint.close()
        assert self.exit_code() == 0
        found: dict[str, Any] = json.loads(self._log.with_name("found").read_text())
        return found

    def exit_code(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def output_to(log: Path) -> Iterator[Any]:
    """Have this process write to the log, until the test is over."""
    kept = [(number, os.dup(number)) for number in (1, 2)]

    def redirect() -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number, _ in kept:
            os.dup2(descriptor, number)
        os.close(descriptor)

    yield redirect
    for number, copy in kept:
        os.dup2(copy, number)
        os.close(copy)


@pytest.fixture(autouse=True)
def back_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Put back when the test is over, wherever it went.
    monkeypatch.chdir(tmp_path)


def test_it_is_as_if_it_was_forked_now(
    log: Path, tmp_path: Path, output_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOES", "soon")
    monkeypatch.setenv("CHANGES", "before")
    early = Early(log)
    monkeypatch.delenv("GOES")
    monkeypatch.setenv("CHANGES", "after=all")
    monkeypatch.setenv("COMES", "with ü, \n and \udcff")
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    output_to()
    with open(tmp_path / "passed", "w") as passed:
        pass_inheritance(early.endpoint, early.variables, [passed.fileno()])
    found = early.find()
    assert found["variables"] == dict(os.environ)
    assert "CHANGES=after=all" in found["seen by programs"]
    assert not [entry for entry in found["seen by programs"] if entry.startswith("GOES=")]
    assert found["directory"] == os.stat(tmp_path / "elsewhere").st_ino
    assert found["passed"] == [str(tmp_path / "passed")]
    assert found["is inheritable"] == [False]
    assert log.read_text() == "out err"
    # One more than the two of the output: the lock of an attempt's log is kept by it.
    assert len(found["log"]) == 3


def test_it_gets_an_environment_of_any_size(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = Early(log)
    text = "x" * 100_000
    for number in range(20):
        monkeypatch.setenv(f"LARGE_{number}", text)
    # As a supervisor has it: then Python may send a part only.
    early.endpoint.settimeout(20)
    pass_inheritance(early.endpoint, early.variables, [])
    assert early.find()["variables"] == dict(os.environ)


def test_it_comes_to_a_directory_that_was_removed(log: Path, tmp_path: Path) -> None:
    early = Early(log)
    (tmp_path / "removed").mkdir()
    os.chdir(tmp_path / "removed")
    inode = os.stat(".").st_ino
    shutil.rmtree(tmp_path / "removed")
    pass_inheritance(early.endpoint, early.variables, [])
    assert early.find()["directory"] == inode


def test_it_knows_that_nothing_will_come(log: Path) -> None:
    early = Early(log)
    early.endpoint.close()
    assert early.exit_code() == 7


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_a_part_of_it_is_nothing(log: Path, monkeypatch: pytest.MonkeyPatch, kept: float) -> None:
    early = Early(log)
    monkeypatch.setenv("LARGE", "x" * 100_000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pass_inheritance(ours, early.variables, [])
        message, descriptors, _, _ = socket.recv_fds(theirs, 1 << 20, 10)
        socket.send_fds(early.endpoint, [message[: int(len(message) * kept)]], descriptors)
    early.endpoint.close()
    assert early.exit_code() == 8


def test_whoever_has_gone_gets_nothing(log: Path) -> None:
    early = Early(log)
    os.kill(early.pid, 9)
    os.waitpid(early.pid, 0)
    with pytest.raises(OSError, match="Broken pipe"):
        pass_inheritance(early.endpoint, early.variables, [])
    early.endpoint.close()
