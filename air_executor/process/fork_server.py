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

from air_executor.process import attempt_log
from air_executor.process.cgroup import AttemptCgroup, CgroupParent, create_cgroup_parent
from air_executor.process.channel import Channel
from air_executor.process.exits import describe_exit
from air_executor.process.identity import boot_id, identify, own_age_s
from air_executor.process.orphans import Orphans
from air_executor.process.protocol import Ended, Launch, NotStarted, Ready, Report, Started
from air_executor.process.runner import CommandRunner, Inheritance, StartRunner
from air_executor.process.spool import Spool
from air_executor.process.subreaper import become_subreaper
from air_executor.process.sweep import STEP_PAUSE_S, Sweep
from air_executor.process.tree import AttemptTree, tree_of

_LAUNCHES_PER_PASS = 16
_SPOOL_RETRY_S = 1.0
_ORPHAN_LOOK_S = 1.0
_FAREWELL_S = 1.0


class _Attempt:
    """A runner that has not been reaped yet."""

    __slots__ = ("cgroup", "keep_processes", "tree")

    def __init__(self, tree: AttemptTree, cgroup: AttemptCgroup | None, keep_processes: bool) -> None:
        self.tree = tree
        self.cgroup = cgroup
        self.keep_processes = keep_processes


class _Ending:
    """A runner that was reaped, whose tree is still being ended."""

    __slots__ = ("attempt", "ended", "sweep")

    def __init__(self, attempt: _Attempt, ended: Ended, sweep: Sweep) -> None:
        self.attempt = attempt
        self.ended = ended
        self.sweep = sweep


class ForkServer:
    """Serves one channel until it has ended and no runner is left."""

    def __init__(
        self,
        channel: Channel[Launch],
        spool: Spool,
        start_runner: StartRunner,
        cgroups: CgroupParent | None = None,
    ) -> None:
        """Take over channel and spool; call from the main thread of a process with no other thread."""
        self._channel = channel
        self._spool = spool
        self._start_runner = start_runner
        self._cgroups = cgroups
        self._backlog: deque[Launch] = deque()
        self._running: dict[int, _Attempt] = {}
        self._endings: list[_Ending] = []
        self._orphans = Orphans()
        self._looked_for_orphans_at = 0.0
        self._has_children = False
        self._is_listening = True
        self._asked_to_leave = False
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._poll = select.poll()

    def serve(self, ready_after_s: float = 0.0) -> None:
        """Say `Ready`, then serve until the manager's end is closed and the last runner has ended."""
        self._handle_signals()
        self._poll.register(self._wake_read, select.POLLIN)
        self._poll.register(self._channel, select.POLLIN)
        self._channel.send([Ready(pid=os.getpid(), seconds=ready_after_s)])
        while not self._is_finished():
            self._wait()
            self._receive()
            reports: list[Report] = []
            self._start_some(reports)
            self._reap(reports)
            self._advance_endings(reports)
            self._publish(reports)
            self._tend_orphans()
        self._say_farewell()

    def _handle_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # A handler has to exist for the wake-up to be written; the loop does the work.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _on_terminate(self, *_: object) -> None:
        # While runners live, leaving would lose how they end: then only SIGKILL ends this process.
        self._asked_to_leave = not (self._running or self._endings or self._backlog)

    def _is_finished(self) -> bool:
        if self._running or self._endings or self._backlog or self._spool.has_pending:
            return False
        return self._channel.has_ended or self._asked_to_leave

    def _wait(self) -> None:
        timeout_s: float | None = None
        if self._backlog:
            timeout_s = 0.0
        elif self._endings:
            timeout_s = STEP_PAUSE_S
        elif self._spool.has_pending:
            timeout_s = _SPOOL_RETRY_S
        elif self._running and self._must_scan_for_orphans():
            timeout_s = _ORPHAN_LOOK_S
        for descriptor, events in self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            if descriptor == self._wake_read:
                self._drain_wake_ups()
            elif events & select.POLLOUT:
                self._channel.flush()

    def _drain_wake_ups(self) -> None:
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def _receive(self) -> None:
        if not self._is_listening:
            return
        self._backlog.extend(self._channel.receive())
        if self._channel.has_ended:
            # Nobody is there to hear that these were started: the next manager claims them itself.
            self._backlog.clear()
            self._is_listening = False
            self._poll.unregister(self._channel)
            if self._channel.fault is not None:
                print(f"fork server: no more work is taken, broken message: {self._channel.fault}", file=sys.stderr)

    def _start_some(self, reports: list[Report]) -> None:
        # In portions, so that a burst does not keep those that have ended waiting.
        count = min(len(self._backlog), _LAUNCHES_PER_PASS)
        reports.extend(self._start(self._backlog.popleft()) for _ in range(count))

    def _start(self, launch: Launch) -> Started | NotStarted:
        try:
            log_fd = attempt_log.create_attempt_log(launch.log_path)
        except FileExistsError:
            return _not_started(launch, f"{launch.log_path} exists: the attempt is claimed", already_claimed=True)
        except OSError as error:
            return _not_started(launch, f"the log {launch.log_path} cannot be created: {_reason(error)}")
        try:
            return self._start_claimed(launch, log_fd)
        except (OSError, ValueError) as error:
            refusal = _not_started(launch, _reason(error))
            _write_quietly(log_fd, f"air-executor: not started: {refusal.error}\n")
            return refusal
        finally:
            os.close(log_fd)

    def _start_claimed(self, launch: Launch, log_fd: int) -> Started:
        cgroup = self._enter_cgroup(launch)
        try:
            pid = self._start_runner(launch, Inheritance(log_fd, self._own_descriptors()))
        except BaseException:
            self._leave_cgroup(cgroup)
            if cgroup is not None:
                cgroup.remove()
            raise
        if not self._leave_cgroup(cgroup):
            cgroup = None
        self._has_children = True
        identity = identify(pid)
        started = Started(
            attempt_id=launch.attempt_id,
            pid=pid,
            start_ticks=identity.start_ticks if identity is not None else 0,
            boot_id=boot_id(),
            at=time.time(),
            log_path=launch.log_path,
            cgroup=cgroup.path if cgroup is not None else None,
        )
        self._running[pid] = _Attempt(tree_of(started), cgroup, launch.keep_processes)
        return started

    def _own_descriptors(self) -> tuple[int, ...]:
        channel = self._channel.fileno()
        return (channel, self._spool.fileno(), self._wake_read, self._wake_write)

    def _enter_cgroup(self, launch: Launch) -> AttemptCgroup | None:
        """Go where the runner shall be born: moved in only later, it might have forked already."""
        if self._cgroups is None:
            return None
        try:
            cgroup = self._cgroups.create_attempt()
        except OSError:
            return None
        if launch.memory_limit_bytes is not None:
            cgroup.limit_memory(launch.memory_limit_bytes)
        try:
            cgroup.enter()
        except OSError:
            cgroup.remove()
            return None
        return cgroup

    def _leave_cgroup(self, cgroup: AttemptCgroup | None) -> bool:
        if cgroup is None:
            return True
        try:
            cgroup.leave()
        except OSError:
            # Caught inside: a kill of that cgroup would end this server. Nobody is told of it, and no other is made.
            self._cgroups = None
            return False
        return True

    def _reap(self, reports: list[Report]) -> None:
        while self._has_children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return
            if pid == 0:
                return
            attempt = self._running.pop(pid, None)
            if attempt is not None:
                self._end(attempt, describe_exit(attempt.tree.attempt_id, status, usage), reports)

    def _end(self, attempt: _Attempt, ended: Ended, reports: list[Report]) -> None:
        if not self._has_leftovers(attempt):
            reports.append(self._finish(attempt, ended, ()))
        elif attempt.keep_processes:
            self._orphans.spare_those_of(attempt.tree.attempt_id)
            reports.append(self._finish(attempt, ended, ()))
        else:
            self._endings.append(_Ending(attempt, ended, Sweep(attempt.tree, runner_was_just_reaped=True)))

    def _has_leftovers(self, attempt: _Attempt) -> bool:
        """Tell, for some microseconds in the normal case, whether a reaped runner may have left processes behind."""
        if attempt.cgroup is not None:
            populated = attempt.cgroup.is_populated()
            if populated is not None:
                return populated
        if attempt_log.is_locked(attempt.tree.log_path) or not os.path.exists(attempt.tree.log_path):
            return True
        if not self._orphans.can_look_cheaply:
            return False
        self._orphans.look(self._running)
        return self._orphans.has_any_of(attempt.tree.attempt_id)

    def _advance_endings(self, reports: list[Report]) -> None:
        for ending in tuple(self._endings):
            if ending.sweep.advance():
                self._endings.remove(ending)
                reports.append(self._finish(ending.attempt, ending.ended, ending.sweep.killed))

    def _finish(self, attempt: _Attempt, ended: Ended, killed: tuple[str, ...]) -> Ended:
        out_of_memory = False
        if attempt.cgroup is not None:
            out_of_memory = attempt.cgroup.ran_out_of_memory()
            attempt.cgroup.remove()
        if not killed and not out_of_memory:
            return ended
        return msgspec.structs.replace(ended, killed=killed, out_of_memory=out_of_memory)

    def _publish(self, reports: list[Report]) -> None:
        """Write to the spool first: what was said to the manager must be known to the next one as well."""
        recorded = [report for report in reports if not (isinstance(report, NotStarted) and report.already_claimed)]
        if recorded or self._spool.has_pending:
            self._spool.append(recorded)
        self._channel.send(reports)
        if self._is_listening:
            events = select.POLLIN | (select.POLLOUT if self._channel.want_write else 0)
            self._poll.modify(self._channel, events)

    def _must_scan_for_orphans(self) -> bool:
        return self._cgroups is None and not self._orphans.can_look_cheaply

    def _tend_orphans(self) -> None:
        """End what belongs to no attempt, once none runs: while one does, it could be its."""
        if self._running or self._endings or not self._has_children:
            return
        now = time.monotonic()
        if now - self._looked_for_orphans_at < _ORPHAN_LOOK_S and not self._orphans.can_look_cheaply:
            return
        self._looked_for_orphans_at = now
        self._orphans.look(self._running)
        self._orphans.end_unclaimed()

    def _say_farewell(self) -> None:
        # The spool has it all; this only spares the manager from reading it.
        gives_up_at = time.monotonic() + _FAREWELL_S
        while self._channel.want_write and time.monotonic() < gives_up_at:
            select.select((), (self._channel,), (), STEP_PAUSE_S)
            self._channel.flush()
        if self._cgroups is not None:
            self._cgroups.remove()


def _not_started(launch: Launch, error: str, *, already_claimed: bool = False) -> NotStarted:
    return NotStarted(attempt_id=launch.attempt_id, at=time.time(), error=error, already_claimed=already_claimed)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def _write_quietly(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    except OSError:
        # The disk is full: the report says it all.
        pass


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


def serve_channel(arguments: ServerArguments, start_runner: StartRunner) -> int:
    """Run a fork server in this process until it is retired; returns its exit code.

    The process must have one thread. Everything to be shared with runners must be loaded before.
    """
    become_subreaper()
    channel: Channel[Launch] = Channel(socket.socket(fileno=arguments.channel_fd), Launch)
    spool = Spool(arguments.spool_path)
    server = ForkServer(channel, spool, start_runner, create_cgroup_parent() if arguments.use_cgroups else None)
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
