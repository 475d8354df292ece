"""From a runner's exit to `Ended`: reap, look for what it left behind, end that, record. For fork servers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import msgspec

from air_executor.process.attempt_log import is_locked
from air_executor.process.attempts import Attempt
from air_executor.process.cgroup import AttemptCgroup
from air_executor.process.exits import RunnerExit, describe_exit, read_exit
from air_executor.process.orphans import Orphans
from air_executor.process.protocol import Ended
from air_executor.process.sweep import Sweep

_ORPHAN_SCAN_S = 1.0
_REMOVAL_RETRY_S = 1.0


class _Ending:
    """A reaped runner whose tree is still being ended."""

    __slots__ = ("attempt", "ended", "sweep")

    def __init__(self, attempt: Attempt, ended: Ended) -> None:
        self.attempt = attempt
        self.ended = ended
        self.sweep = Sweep(attempt.tree, runner_was_just_reaped=True)


class Reaper:
    """Waits for every child of a fork server, which is a subreaper: runners and the orphans that fall to it."""

    def __init__(self) -> None:
        self._running: dict[int, Attempt] = {}
        self._endings: list[_Ending] = []
        self._orphans = Orphans()
        self._scanned_for_orphans_at = 0.0
        self._occupied_cgroups: list[AttemptCgroup] = []
        self._next_removal_at = 0.0
        # Without any child there is nothing to wait for, and no orphan either.
        self._has_children = False

    @property
    def is_busy(self) -> bool:
        """Whether a runner lives or its tree is not gone yet."""
        return bool(self._running or self._endings)

    @property
    def is_sweeping(self) -> bool:
        """Whether `take_ended` is to be called again soon, not only when a child ends."""
        return bool(self._endings)

    def watch(self, attempt: Attempt) -> None:
        """Take over an attempt whose runner was just started."""
        self._running[attempt.started.pid] = attempt
        self._has_children = True

    def spare(self, pid: int) -> None:
        """Take a child for no orphan, as long as it lives: it is of the fork server itself."""
        self._orphans.helpers.add(pid)
        self._has_children = True

    def take_ended(self, exits: Iterable[tuple[int, RunnerExit]] = ()) -> list[Ended]:
        """Reap what has exited; returns the attempts that are over by now, tree included. Never waits.

        :param exits: of runners that templates have reaped, by pid.
        """
        ended = [each for pid, found in exits if (each := self._note_exit(pid, found)) is not None]
        while self._has_children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                break
            if pid == 0:
                break
            self._orphans.helpers.discard(pid)
            each = self._note_exit(pid, read_exit(status, usage))
            if each is not None:
                ended.append(each)
        for ending in tuple(self._endings):
            if ending.sweep.advance():
                self._endings.remove(ending)
                ended.append(self._finish(ending.attempt, ending.ended, ending.sweep.killed))
        return ended

    def _note_exit(self, pid: int, found: RunnerExit) -> Ended | None:
        attempt = self._running.pop(pid, None)
        if attempt is None:
            # An orphan, a template, or a runner whose template has told of its exit and died before it reaped it.
            return None
        exit_record = describe_exit(attempt.tree.attempt_id, found)
        if self._has_leftovers_to_end(attempt):
            self._endings.append(_Ending(attempt, exit_record))
            return None
        return self._finish(attempt, exit_record, ())

    def _has_leftovers_to_end(self, attempt: Attempt) -> bool:
        if not attempt.keep_processes:
            return self._may_have_leftovers(attempt)
        if attempt.cgroup is None or self._may_have_leftovers(attempt):
            self._orphans.spare_those_of(attempt.tree.attempt_id)
        return False

    def _may_have_leftovers(self, attempt: Attempt) -> bool:
        """Tell, within some microseconds in the normal case, whether a reaped runner may have left processes behind."""
        if attempt.cgroup is not None:
            populated = attempt.cgroup.is_populated()
            if populated is not None:
                # New kernels count a process for an instant after it was reaped, but do not list it.
                return populated and bool(attempt.cgroup.pids())
        if is_locked(attempt.tree.log_path) or not os.path.exists(attempt.tree.log_path):
            return True
        # One that closed all descriptors is a child of this subreaper by now, or descends from one.
        if not self._orphans.can_look_cheaply:
            return False
        self._orphans.look(self._running)
        return self._orphans.has_any_of(attempt.tree.attempt_id, attempt.started.pid)

    def tend_orphans(self) -> None:
        """End what belongs to no attempt, once none runs: while one does, it could be its."""
        if self.is_busy or not self._has_children:
            return
        now = time.monotonic()
        if not self._orphans.can_look_cheaply and now - self._scanned_for_orphans_at < _ORPHAN_SCAN_S:
            return
        self._scanned_for_orphans_at = now
        self._orphans.look(self._running)
        self._orphans.end_unclaimed()

    def _finish(self, attempt: Attempt, ended: Ended, killed: tuple[str, ...]) -> Ended:
        out_of_memory = False
        if attempt.cgroup is not None:
            out_of_memory = attempt.cgroup.ran_out_of_memory()
            if not attempt.cgroup.remove():
                self._occupied_cgroups.append(attempt.cgroup)
        if not killed and not out_of_memory:
            return ended
        return msgspec.structs.replace(ended, killed=killed, out_of_memory=out_of_memory)

    def remove_vacated_cgroups(self) -> None:
        """Remove cgroups in which kept processes lived that have ended since; tries about once a second."""
        if not self._occupied_cgroups or time.monotonic() < self._next_removal_at:
            return
        self._next_removal_at = time.monotonic() + _REMOVAL_RETRY_S
        self._occupied_cgroups = [cgroup for cgroup in self._occupied_cgroups if not cgroup.remove()]
