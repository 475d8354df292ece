"""One template as its fork server sees it: a process that prepares, and then forks runners when told to."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NoReturn

from air_executor.process.attempts import BirthplaceLostError
from air_executor.process.cgroup import AttemptCgroup, find_parent_path, remove_abandoned
from air_executor.process.channel import Channel
from air_executor.process.connected_fork import fork_connected
from air_executor.process.exits import RunnerExit
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.identity import identify
from air_executor.process.launch_passing import send_launch
from air_executor.process.protocol import Launch
from air_executor.process.runner import Inheritance
from air_executor.process.template import (
    Facts,
    Forked,
    NotForked,
    Prepared,
    RunnerEnded,
    RunnerReaped,
    Settled,
    TemplateMessage,
    TemplateProcess,
    Unsuitable,
)

_ANSWER_PATIENCE_S = 10.0
_LAST_WORDS_S = 2.0
"""How long one that was killed takes at most to be gone."""


class TemplateLink:
    """A template's process, its connection, and what it has said."""

    def __init__(
        self,
        key: Hashable,
        prepare: Callable[[Hashable], Facts],
        runners: ForkRunner,
        *,
        server_fds: Iterable[int],
        cgroup_home: str | None,
    ) -> None:
        """Fork it.

        :param runners: what its runners do.
        :param server_fds: what it must not keep of the fork server.
        :raises OSError: it could not be forked.
        """
        self.key = key
        self.began_at = time.monotonic()
        self.used_at = self.began_at
        self.facts: Facts | None = None
        """What its preparation found; None before it is over."""
        self.reason: str | None = None
        """Why there can be no template for this key."""
        self.birth_cgroup: AttemptCgroup | None = None
        self.has_served = False
        """Whether a runner was forked there."""
        parent_pid = os.getpid()

        def become_template(theirs: socket.socket) -> NoReturn:
            for descriptor in server_fds:
                os.close(descriptor)
            TemplateProcess(theirs, prepare, runners, cgroup_home).run(key, parent_pid)

        self.pid, ours = fork_connected(become_template)
        self._identity = identify(self.pid)
        self._cgroup_home = cgroup_home
        self._last_cgroup = 0
        """Number of the cgroup that `move_on` returned last."""
        self._patience_s = _ANSWER_PATIENCE_S
        self._socket = ours
        self._channel: Channel[TemplateMessage] = Channel(ours, TemplateMessage)
        self._answers: deque[TemplateMessage] = deque()
        self._ended: dict[int, RunnerExit] = {}
        """How runners have ended of which no more is known yet, by pid."""
        self._reaped: list[tuple[int, RunnerExit]] = []

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._channel.fileno()

    @property
    def is_ready(self) -> bool:
        """Claim that it serves."""
        return self.facts is not None and self.reason is None

    @property
    def has_ended(self) -> bool:
        """Claim that nothing more will come from it."""
        return self._channel.has_ended

    def receive(self) -> None:
        """Take what it has said; never waits."""
        for message in self._channel.receive():
            if isinstance(message, Prepared):
                self.facts = message.facts
            elif isinstance(message, Unsuitable):
                self.facts, self.reason = message.facts, message.reason
            elif isinstance(message, RunnerEnded):
                self._ended[message.pid] = RunnerExit(message.exit_code)
            elif isinstance(message, RunnerReaped):
                self._ended.pop(message.pid, None)
                self._reaped.append((message.pid, message.exit))
            else:
                self._answers.append(message)

    def take_exits(self) -> list[tuple[int, RunnerExit]]:
        """Return the exits of runners that were not returned before, by pid."""
        exits, self._reaped = self._reaped, []
        if self._channel.has_ended:
            # It died between telling and reaping, or just after that: no more will be known.
            exits += self._ended.items()
            self._ended = {}
        return exits

    # As a birthplace of runners.

    forks_ahead = True

    def start(self, launch: Launch, inheritance: Inheritance) -> int:
        """Have a runner forked there; returns its pid.

        :raises BirthplaceLostError: the template is gone, hangs, or cannot fork; no runner of it will begin.
        """
        try:
            send_launch(self._socket, launch, inheritance.log_fd, _ANSWER_PATIENCE_S)
        except OSError as error:
            self.kill()
            raise BirthplaceLostError(f"a template takes no launch: {error}") from error
        finally:
            self._socket.setblocking(False)
        answer = self._wait_for_answer()
        if answer is None:
            self.kill()
            # It may have answered just before that, and let the runner begin: then this is the attempt's only one.
            answer = self._wait_for_answer()
        if isinstance(answer, Forked):
            self.has_served = True
            return answer.pid
        if isinstance(answer, NotForked):
            raise BirthplaceLostError(f"a template cannot fork: {answer.error}")
        # Whatever it forked hears of its end, and ends itself.
        self.kill()
        raise BirthplaceLostError("a template ended, or does not answer")

    def move_on(self) -> AttemptCgroup | None:
        """Wait until it has left the cgroup of the runner that was forked last, and return that."""
        answer = self._wait_for_answer()
        if isinstance(answer, Settled):
            if answer.cgroup is None:
                return None
            self._last_cgroup = int(os.path.basename(answer.cgroup))
            return AttemptCgroup(answer.cgroup)
        self.kill()
        return None

    def _wait_for_answer(self) -> TemplateMessage | None:
        gives_up_at = time.monotonic() + self._patience_s
        while not self._answers and not self._channel.has_ended:
            left_s = gives_up_at - time.monotonic()
            if left_s <= 0 or not select.select((self._socket,), (), (), left_s)[0]:
                break
            self.receive()
        return self._answers.popleft() if self._answers else None

    def finish(self) -> None:
        """Have it leave; what it has yet to tell can be received until `has_ended`. Its runners fall to the fork server."""
        self._channel.finish_sending()

    def kill(self) -> None:
        """End it, and what its preparation has started; runners have sessions of their own."""
        self._patience_s = _LAST_WORDS_S
        if identify(self.pid) != self._identity:
            # Reaped, and its number may be somebody else's.
            return
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Hear no more of it."""
        self._channel.close()

    def remove_cgroups(self) -> bool:
        """Remove what it could not remove itself, once it is gone; False while runners, or what they left, are in there."""
        if self._cgroup_home is None or self._identity is None:
            return True
        path = find_parent_path(self._cgroup_home, self.pid, self._identity.start_ticks)
        return remove_abandoned(path, self._last_cgroup)
