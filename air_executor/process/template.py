"""A template: a fork of a fork server that has prepared itself for one kind of launches, and forks their runners.

A runner does nothing before the fork server has been told its pid: a template that dies leaves no runner that nobody
knows. It tells how a runner ended before it reaps it: dies it in between, the runner falls to the fork server, a subreaper.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Hashable
from typing import Any, NoReturn

import msgspec

from air_executor.process.cgroup import CgroupParent
from air_executor.process.descriptors import drain
from air_executor.process.exits import RunnerExit, read_exit
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.launch_passing import receive_launch
from air_executor.process.protocol import Launch, Message
from air_executor.process.runner import Inheritance
from air_executor.process.subreaper import die_with_parent

Facts = dict[str, Any]
"""What a preparation found out, for the one who decides which launches it suits; plain JSON."""


class UnsuitableError(Exception):
    """There can be no template for this key: the message says why; its launches start without."""

    def __init__(self, reason: str, facts: Facts) -> None:
        super().__init__(reason)
        self.facts = facts


class Prepared(Message, frozen=True, kw_only=True, tag="prepared"):
    """The template is ready."""

    facts: Facts


class Unsuitable(Message, frozen=True, kw_only=True, tag="unsuitable"):
    """The template leaves, because there can be none."""

    reason: str
    facts: Facts


class Forked(Message, frozen=True, kw_only=True, tag="forked"):
    """A runner exists, and begins when this has been sent."""

    pid: int


class Settled(Message, frozen=True, kw_only=True, tag="settled"):
    """The template has left the cgroup of the runner that it forked last."""

    cgroup: str | None = None


class RunnerEnded(Message, frozen=True, kw_only=True, tag="runner_ended"):
    """A runner has exited."""

    pid: int
    exit_code: int
    """Negative for a signal."""


class RunnerReaped(Message, frozen=True, kw_only=True, tag="runner_reaped"):
    """All about the exit of a runner whose end was told before."""

    pid: int
    exit: RunnerExit


class NotForked(Message, frozen=True, kw_only=True, tag="not_forked"):
    """No runner could be forked; nothing has run."""

    error: str


TemplateMessage = Prepared | Unsuitable | Forked | Settled | RunnerEnded | RunnerReaped | NotForked

_ENCODER = msgspec.json.Encoder()


class TemplateProcess:
    """What happens in the fork that becomes a template."""

    def __init__(
        self,
        endpoint: socket.socket,
        prepare: Callable[[Hashable], Facts],
        runners: ForkRunner,
        cgroup_home: str | None,
    ) -> None:
        """Take over the connection to the fork server.

        :param runners: what runners of this template do.
        :param cgroup_home: where cgroups of its runners are made; None: there are none.
        """
        self._endpoint = endpoint
        self._prepare = prepare
        self._runners = runners
        self._cgroup_home = cgroup_home
        self._cgroups: CgroupParent | None = None
        self._wake_read = self._wake_write = -1

    def run(self, key: Hashable, parent_pid: int) -> NoReturn:
        """Prepare, serve until the fork server closes its end, and leave. Never returns into the code of the fork server."""
        code = 1
        try:
            self._settle(parent_pid)
            if self._become_ready(key):
                self._serve()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            # It waits in the cgroup that is to go.
            self._runners.dismiss()
            if self._cgroups is not None:
                self._cgroups.leave()
            sys.stderr.flush()
            # Not sys.exit: exit handlers and stack are those of the fork server.
            os._exit(code)

    def _become_ready(self, key: Hashable) -> bool:
        try:
            facts = self._prepare(key)
        except UnsuitableError as error:
            self._say(Unsuitable(reason=str(error), facts=error.facts))
            return False
        if self._cgroup_home is not None:
            try:
                self._cgroups = CgroupParent(self._cgroup_home)
            except OSError as error:
                # Runners would share a cgroup with it, and end with it.
                self._say(Unsuitable(reason=f"no cgroup can be made for its runners: {error}", facts=facts))
                return False
        self._say(Prepared(facts=facts))
        return True

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._endpoint, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            self._runners.fork_ahead(self._own_descriptors)
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wake_read in ready:
                drain(self._wake_read)
                self._reap()
            if self._endpoint.fileno() in ready:
                received = receive_launch(self._endpoint)
                if received is None:
                    return
                launch, log_fd, _ = received
                self._start(launch, log_fd)

    def _start(self, launch: Launch, log_fd: int) -> None:
        try:
            runner = self._runners.hold(launch, Inheritance(log_fd, self._own_descriptors))
        except OSError as error:
            self._say(NotForked(error=f"{error.strerror or error}"))
            return
        finally:
            os.close(log_fd)
        self._say(Forked(pid=runner.pid))
        runner.begin()
        # Entering the next cgroup may take a while: only now, when the runner is under way.
        born_in = self._cgroups.move_on() if self._cgroups is not None else None
        self._say(Settled(cgroup=born_in.path if born_in is not None else None))

    @property
    def _own_descriptors(self) -> tuple[int, ...]:
        return self._endpoint.fileno(), self._wake_read, self._wake_write

    def _reap(self) -> None:
        while (ended := _look_for_ended()) is not None:
            pid, exit_code = ended
            self._say(RunnerEnded(pid=pid, exit_code=exit_code))
            _, status, usage = os.wait4(pid, 0)
            self._say(RunnerReaped(pid=pid, exit=read_exit(status, usage)))

    def _settle(self, parent_pid: int) -> None:
        # A preparation may hang for ever, with nobody left who would end it.
        die_with_parent(parent_pid)
        os.setsid()
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # Of the fork server, and only there to wake it.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _say(self, message: TemplateMessage) -> None:
        self._endpoint.sendall(_ENCODER.encode(message) + b"\n")


def _look_for_ended() -> tuple[int, int] | None:
    """Return pid and exit code of a child that has exited, and leave it to be reaped; None if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if found is None:
        return None
    has_exited = found.si_code == os.CLD_EXITED
    return found.si_pid, found.si_status if has_exited else -found.si_status
