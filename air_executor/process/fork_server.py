"""The fork server: starts runners, sees them end, ends what they leave, records both; one thread, no decisions.

It outlives its manager until its last runner has ended. `main` runs the one for commands; a warm parent calls
`serve_channel` with its own way to start runners.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from air_executor.process.attempts import AttemptStarter, Here
from air_executor.process.cgroup import CgroupParent, create_cgroup_parent
from air_executor.process.channel import Channel
from air_executor.process.descriptors import drain, keep_descriptors_private
from air_executor.process.identity import own_age_s
from air_executor.process.protocol import Launch, NotStarted, Ready, Report
from air_executor.process.reaper import Reaper
from air_executor.process.runner import CommandRunner, StartRunner
from air_executor.process.spool import Spool
from air_executor.process.subreaper import become_subreaper
from air_executor.process.sweep import STEP_PAUSE_S
from air_executor.process.templates import TemplatePlan, Templates

_LAUNCHES_PER_PASS = 16
_SPOOL_RETRY_S = 1.0
_FAREWELL_S = 1.0


class ForkServer:
    """Serves one channel until it has ended and no runner is left."""

    def __init__(
        self,
        channel: Channel[Launch],
        spool: Spool,
        start_runner: StartRunner,
        cgroups: CgroupParent | None = None,
        plan: TemplatePlan | None = None,
    ) -> None:
        """Take over channel and spool; call from the main thread; others, where there are any, must bear that it forks.

        :param plan: what templates there may be; only with a `ForkRunner`.
        """
        self._channel = channel
        self._spool = spool
        self._cgroups = cgroups
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._own_descriptors = (channel.fileno(), spool.fileno(), self._wake_read, self._wake_write)
        self._here = here = Here(start_runner, cgroups)
        self._is_next_awaited = False
        self._starter = AttemptStarter(here, self._list_descriptors)
        self._reaper = Reaper()
        self._backlog: deque[Launch] = deque()
        self._poll = select.poll()
        self._templates: Templates | None = None
        if plan is not None and here.forks is not None:
            self._templates = Templates(
                plan,
                here.forks,
                here,
                poll=self._poll,
                server_fds=self._own_descriptors,
                cgroups=cgroups,
                spare=self._reaper.spare,
            )
        self._polled_events = select.POLLIN
        self._is_listening = True
        self._was_asked_to_leave = False

    def _list_descriptors(self) -> tuple[int, ...]:
        # Those of templates come and go.
        return (*self._own_descriptors, *(self._templates.descriptors if self._templates is not None else ()))

    def serve(self, ready_after_s: float = 0.0) -> None:
        """Say `Ready`, then serve until the manager's end is closed and the last runner has ended."""
        self._handle_signals()
        self._poll.register(self._wake_read, select.POLLIN)
        self._poll.register(self._channel, self._polled_events)
        self._channel.send([Ready(pid=os.getpid(), seconds=ready_after_s)])
        while not self._is_finished():
            self._wait()
            self._receive()
            reports = self._start_some()
            reports.extend(self._reaper.take_ended(self._templates.take_exits() if self._templates is not None else ()))
            self._publish(reports)
            self._reaper.tend_orphans()
            self._reaper.remove_vacated_cgroups()
            if self._templates is not None:
                self._templates.tend()
                # Those that waited come first.
                self._backlog.extendleft(reversed(list(self._templates.take_released())))
            self._fork_ahead()
        self._say_farewell()

    def _handle_signals(self) -> None:
        # Written by the signal itself, so no wake-up is lost between a look and the next poll.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _on_terminate(self, *_: object) -> None:
        # While runners live, leaving would lose how they end: then only SIGKILL ends this process.
        self._was_asked_to_leave = not (self._reaper.is_busy or self._has_launches)

    @property
    def _has_launches(self) -> bool:
        return bool(self._backlog) or (self._templates is not None and self._templates.has_waiting)

    def _is_finished(self) -> bool:
        if self._reaper.is_busy or self._has_launches or self._spool.has_pending:
            return False
        return self._was_asked_to_leave or not self._is_listening

    def _wait(self) -> None:
        timeout_s: float | None = None
        if self._backlog:
            timeout_s = 0.0
        elif self._reaper.is_sweeping:
            timeout_s = STEP_PAUSE_S
        elif self._spool.has_pending:
            timeout_s = _SPOOL_RETRY_S
        elif self._templates is not None:
            timeout_s = self._templates.timeout_s()
        for descriptor, events in self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            if descriptor == self._wake_read:
                drain(self._wake_read)
            elif self._templates is not None and self._templates.receive(descriptor):
                continue
            elif events & select.POLLOUT:
                self._channel.flush()

    def _receive(self) -> None:
        if not self._is_listening:
            return
        self._backlog.extend(self._channel.receive())
        if self._channel.has_ended:
            # Nobody is there to hear that these were started: the next manager claims them itself.
            self._backlog.clear()
            if self._here.forks is not None:
                self._here.forks.dismiss()
            if self._templates is not None:
                self._templates.drop_waiting()
            self._is_listening = False
            self._poll.unregister(self._channel)
            if self._channel.fault is not None:
                print(f"fork server: takes no more work, broken message: {self._channel.fault}", file=sys.stderr)

    def _start_some(self) -> list[Report]:
        # In portions, so that a burst does not keep those that have ended waiting.
        reports: list[Report] = []
        for _ in range(min(len(self._backlog), _LAUNCHES_PER_PASS)):
            launch = self._backlog.popleft()
            birthplace = self._here if self._templates is None else self._templates.route(launch)
            if birthplace is None:
                continue
            self._is_next_awaited |= birthplace is self._here
            outcome = self._starter.start(launch, birthplace)
            if isinstance(outcome, NotStarted):
                reports.append(outcome)
            else:
                self._reaper.watch(outcome)
                reports.append(outcome.started)
        return reports

    def _fork_ahead(self) -> None:
        """Have a runner wait for the next launch, where one was started here: there will be more."""
        if self._here.forks is None or not self._is_next_awaited or not self._is_listening:
            return
        self._is_next_awaited = False
        pid = self._here.forks.fork_ahead(self._list_descriptors())
        if pid is not None:
            self._reaper.spare(pid)

    def _publish(self, reports: list[Report]) -> None:
        """Write to the spool first: what was said to the manager must be known to the next one as well."""
        # That somebody else claimed an attempt says nothing about how it went.
        recorded = [report for report in reports if not (isinstance(report, NotStarted) and report.already_claimed)]
        if recorded or self._spool.has_pending:
            self._spool.append(recorded)
        self._channel.send(reports)
        events = select.POLLIN | (select.POLLOUT if self._channel.want_write else 0)
        if self._is_listening and events != self._polled_events:
            self._polled_events = events
            self._poll.modify(self._channel, events)

    def _say_farewell(self) -> None:
        # The spool has it all; this only spares the manager from reading it.
        gives_up_at = time.monotonic() + _FAREWELL_S
        while self._channel.want_write and time.monotonic() < gives_up_at:
            select.select((), (self._channel,), (), STEP_PAUSE_S)
            self._channel.flush()
        if self._here.forks is not None:
            self._here.forks.dismiss()
        if self._templates is not None:
            self._templates.end()
        if self._cgroups is not None:
            self._cgroups.remove()


class ServerArguments(msgspec.Struct, frozen=True):
    """The command line that every fork server understands."""

    channel_fd: int
    spool_path: str
    use_cgroups: bool = True


def parse_arguments(arguments: Sequence[str]) -> ServerArguments:
    """Parse `--channel-fd N --spool PATH [--cgroups auto|off]`; raises SystemExit with the usage."""
    # By hand: argparse takes as long to import as the rest of this server.
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    cgroups = options.pop("--cgroups", "auto")
    channel_fd, spool_path = options.pop("--channel-fd", ""), options.pop("--spool", "")
    if options or len(arguments) % 2 or not channel_fd.isdigit() or not spool_path or cgroups not in ("auto", "off"):
        raise SystemExit("usage: --channel-fd NUMBER --spool PATH [--cgroups auto|off]")
    return ServerArguments(int(channel_fd), spool_path, cgroups == "auto")


def serve_channel(arguments: ServerArguments, start_runner: StartRunner, plan: TemplatePlan | None = None) -> int:
    """Run a fork server in this process until it is retired; returns its exit code.

    Call from the main thread; others must bear that it forks. Everything to be shared with runners must be loaded before.
    """
    become_subreaper()
    keep_descriptors_private()
    channel: Channel[Launch] = Channel(socket.socket(fileno=arguments.channel_fd), Launch)
    spool = Spool(arguments.spool_path)
    cgroups = create_cgroup_parent() if arguments.use_cgroups else None
    server = ForkServer(channel, spool, start_runner, cgroups, plan)
    # Nothing here makes reference cycles; a collection would only copy pages that forks share.
    gc.collect()
    gc.freeze()
    gc.disable()
    server.serve(own_age_s())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fork server for commands."""
    return serve_channel(parse_arguments(sys.argv[1:] if arguments is None else arguments), CommandRunner())


if __name__ == "__main__":
    sys.exit(main())
