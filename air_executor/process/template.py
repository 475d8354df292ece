"""A template: a fork of a fork server that has prepared itself for one kind of launches, and forks their runners.

A runner is forked twice over, so that it falls to the fork server, which is a subreaper and reaps it like its own. It
does nothing before the fork server has been told its pid: a template that dies leaves no runner that nobody knows.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Hashable
from typing import Any, NoReturn

import msgspec

from air_executor.process.cgroup import CgroupParent
from air_executor.process.protocol import Launch, Message
from air_executor.process.runner import ForkRunner, Inheritance
from air_executor.process.subreaper import die_with_parent

_RECEIVE_BYTES = 65536
_OPEN = b"o"
NEVER_BEGUN = 125
"""Exit code of a runner whose template died before anybody knew of it; nothing of its task has run."""

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


class NotForked(Message, frozen=True, kw_only=True, tag="not_forked"):
    """No runner could be forked; nothing has run."""

    error: str


TemplateMessage = Prepared | Unsuitable | Forked | Settled | NotForked

_ENCODER = msgspec.json.Encoder()
_LAUNCH = msgspec.json.Decoder(Launch)


class TemplateProcess:
    """What happens in the fork that becomes a template."""

    def __init__(
        self,
        endpoint: socket.socket,
        prepare: Callable[[Hashable], Facts],
        target: Callable[[Launch], int],
        cgroup_home: str | None,
    ) -> None:
        """Take over the connection to the fork server.

        :param target: what runners of this template do.
        :param cgroup_home: where cgroups of its runners are made; None: there are none.
        """
        self._endpoint = endpoint
        self._prepare = prepare
        self._target = target
        self._cgroup_home = cgroup_home
        self._cgroups: CgroupParent | None = None

    def run(self, key: Hashable, parent_pid: int) -> NoReturn:
        """Prepare, serve until the fork server closes its end, and leave. Never returns into the code of the fork server."""
        code = 1
        try:
            _settle(parent_pid)
            if self._become_ready(key):
                self._serve()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            if self._cgroups is not None:
                self._cgroups.remove()
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
        while (received := self._receive()) is not None:
            launch, log_fd = received
            try:
                self._start(launch, log_fd)
            except OSError as error:
                self._say(NotForked(error=f"{error.strerror or error}"))

    def _start(self, launch: Launch, log_fd: int) -> None:
        gate_read, gate_write = os.pipe()
        pid_read, pid_write = os.pipe()
        try:
            go_between = os.fork()
            if go_between == 0:
                os.close(gate_write)
                self._be_go_between(launch, log_fd, gate_read, (pid_read, pid_write))
            for descriptor in (gate_read, pid_write, log_fd):
                os.close(descriptor)
            answer = os.read(pid_read, 64)
            # Gone before the fork server hears of the runner, which is its child by then.
            os.waitpid(go_between, 0)
            if not answer.isdigit():
                raise OSError(answer.decode("utf-8", "replace") or "what should have forked the runner was killed")
            self._say(Forked(pid=int(answer)))
            os.write(gate_write, _OPEN)
        finally:
            os.close(gate_write)
            os.close(pid_read)
        # Entering the next cgroup may take a while: only now, when the runner is under way.
        born_in = self._cgroups.move_on() if self._cgroups is not None else None
        self._say(Settled(cgroup=born_in.path if born_in is not None else None))

    def _be_go_between(self, launch: Launch, log_fd: int, gate_read: int, pid_pipe: tuple[int, int]) -> NoReturn:
        answer = b"the runner could not be forked"
        try:
            fork = ForkRunner(lambda each: self._begin(each, gate_read))
            answer = b"%d" % fork(launch, Inheritance(log_fd, (self._endpoint.fileno(), *pid_pipe)))
        except OSError as error:
            answer = str(error.strerror or error).encode()[:64]
        finally:
            # Also without an answer: then it is over.
            os.write(pid_pipe[1], answer)
            os._exit(0)

    def _begin(self, launch: Launch, gate_read: int) -> int:
        is_known = os.read(gate_read, 1) == _OPEN
        os.close(gate_read)
        if not is_known:
            print("air-executor: the template of this runner ended before it could begin", file=sys.stderr)
            return NEVER_BEGUN
        return self._target(launch)

    def _receive(self) -> tuple[Launch, int] | None:
        """Return the next launch and its log; None when no more will come."""
        received, descriptors = bytearray(), []
        while not received.endswith(b"\n"):
            chunk, passed, _, _ = socket.recv_fds(self._endpoint, _RECEIVE_BYTES, 1)
            if not chunk:
                return None
            received += chunk
            descriptors += passed
        os.set_inheritable(descriptors[0], False)
        return _LAUNCH.decode(received), descriptors[0]

    def _say(self, message: TemplateMessage) -> None:
        self._endpoint.sendall(_ENCODER.encode(message) + b"\n")


def _settle(parent_pid: int) -> None:
    # A parse may hang for ever, with nobody left who would end it.
    die_with_parent(parent_pid)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
