"""One template as its fork server sees it, at the moments that a whole fork server passes too fast."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from air_executor.process import template_link
from air_executor.process.attempts import BirthplaceLostError
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.protocol import Launch
from air_executor.process.runner import Inheritance
from air_executor.process.template import Forked, TemplateMessage, TemplateProcess
from air_executor.process.template_link import TemplateLink
from tests.support.waiting import wait_until

StartTemplate = Callable[[Callable[[Launch], int]], TemplateLink]


class Late:
    """Has a template give an answer only when it is about to be killed, and not be killed before `reached` exists."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = directory / "reached"
        self._asked_read, self._asked_write = os.pipe()
        say, kill = TemplateProcess._say, TemplateLink.kill

        def say_late(template: TemplateProcess, message: TemplateMessage) -> None:
            if isinstance(message, Forked):
                os.read(self._asked_read, 1)
            say(template, message)

        def kill_late(link: TemplateLink) -> None:
            os.write(self._asked_write, b"x")
            wait_until(self.reached.exists)
            kill(link)

        monkeypatch.setattr(template_link, "_ANSWER_PATIENCE_S", 0.2)
        monkeypatch.setattr(TemplateProcess, "_say", say_late)
        monkeypatch.setattr(TemplateLink, "kill", kill_late)

    def close(self) -> None:
        os.close(self._asked_read)
        os.close(self._asked_write)


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    late = Late(tmp_path, monkeypatch)
    yield late
    late.close()


@pytest.fixture
def log_fd(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def start_template(late: Late) -> Iterator[StartTemplate]:
    links = []

    def start(target: Callable[[Launch], int]) -> TemplateLink:
        link = TemplateLink("key", lambda key: {}, ForkRunner(target), server_fds=(), cgroup_home=None)
        links.append(link)
        wait_until(lambda: link.receive() or link.is_ready)
        return link

    yield start
    for link in links:
        link.close()


def test_a_runner_that_begins_as_patience_ends_is_the_only_one(
    tmp_path: Path, late: Late, log_fd: int, start_template: StartTemplate
) -> None:
    def run(launch: Launch) -> int:
        template_pid = os.getppid()
        late.reached.touch()
        wait_until(os.getppid, lambda pid: pid != template_pid)
        return 7

    link = start_template(run)
    pid = link.start(Launch(attempt_id="a/1/1/1", log_path=str(tmp_path / "log"), command="run"), Inheritance(log_fd))
    # With its end the runner falls to this process, a subreaper as a fork server is.
    os.waitpid(link.pid, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert link.move_on() is None


def test_a_runner_of_which_nobody_was_told_is_not_waited_for(
    tmp_path: Path, late: Late, log_fd: int, start_template: StartTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    late.reached.touch()
    monkeypatch.setattr(TemplateProcess, "_start", lambda template, launch, log_fd: signal.pause())
    link = start_template(lambda launch: 0)
    with pytest.raises(BirthplaceLostError):
        link.start(Launch(attempt_id="a/1/1/1", log_path=str(tmp_path / "log"), command="run"), Inheritance(log_fd))
