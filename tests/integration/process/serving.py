"""A fork server under test, seen as its manager sees it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from air_executor.process.protocol import Ended, Launch, NotStarted, Ready, Report, Started
from air_executor.process.spawn import spawn_fork_server
from air_executor.process.spool import read_spool
from tests.support.waiting import wait_until

ReportT = TypeVar("ReportT", Ready, Started, Ended, NotStarted)


class Serving:
    """Starts one fork server and keeps every report it sends."""

    def __init__(self, directory: Path, argv: Sequence[str], *, use_cgroups: bool) -> None:
        self.directory = directory
        self.spool_path = str(directory / f"server-{len(list(directory.iterdir()))}.jsonl")
        self.process = spawn_fork_server(
            argv, self.spool_path, log_path=str(directory / "servers.log"), use_cgroups=use_cgroups
        )
        self.pid = self.process.pid
        self.reports: list[Report] = []
        self._count = 0

    def launch(self, command: str, *args: str, **fields: Any) -> str:
        """Send a launch; returns its attempt id."""
        message = self.message(command, *args, **fields)
        self.process.channel.send([message])
        return message.attempt_id

    def message(self, command: str, *args: str, **fields: Any) -> Launch:
        self._count += 1
        attempt_id = f"{self.directory.name}/{self._count}/1"
        return Launch(
            attempt_id=attempt_id, command=command, args=args, **{"log_path": self.log_path(attempt_id), **fields}
        )

    def log_path(self, attempt_id: str) -> str:
        return str(self.directory / f"{attempt_id.replace('/', '.')}.log")

    def log(self, attempt_id: str) -> str:
        return Path(self.log_path(attempt_id)).read_text()

    def receive(self) -> list[Report]:
        """Take what has arrived within a moment; returns all reports so far."""
        poll = select.poll()
        poll.register(self.process.channel, select.POLLIN | (select.POLLOUT if self.process.channel.want_write else 0))
        poll.poll(20)
        self.process.channel.flush()
        self.reports += self.process.channel.receive()
        return self.reports

    def wait_for(self, kind: type[ReportT], attempt_id: str | None = None, timeout_s: float = 30) -> ReportT:
        def find() -> ReportT | None:
            for report in self.receive():
                if isinstance(report, kind) and attempt_id in (None, getattr(report, "attempt_id", None)):
                    return report
            return None

        try:
            found = wait_until(find, timeout_s=timeout_s, interval_s=0)
        except AssertionError as error:
            raise AssertionError(f"no {kind.__name__} of {attempt_id} among {self.reports}") from error
        assert found is not None
        return found

    def run(self, command: str, *args: str, **fields: Any) -> Ended:
        """Launch and wait for the end."""
        return self.wait_for(Ended, self.launch(command, *args, **fields))

    def spooled(self, kind: type[ReportT]) -> list[ReportT]:
        return [report for report in read_spool(self.spool_path) if isinstance(report, kind)]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def wait_gone(self) -> int:
        """Wait for the server to leave by itself; returns its exit code."""
        reaped = wait_until(lambda: os.waitpid(self.pid, os.WNOHANG), lambda answer: answer[0] == self.pid)
        return os.waitstatus_to_exitcode(reaped[1])

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_pid(path: Path) -> int:
    """Wait for a program to have written a pid into a file."""
    return int(wait_until(lambda: path.read_text() if path.exists() else "", lambda text: text.endswith("\n")))


def gone(pid: int) -> Callable[[], bool]:
    """Make an observation for `wait_until`: that a process has ended."""
    return lambda: not is_alive(pid)
