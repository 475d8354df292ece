"""Ending a whole process tree with SIGKILL, however it forks, ignores signals or hides; in bounded steps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection

from air_executor.process.cgroup import AttemptCgroup
from air_executor.process.identity import ProcessIdentity, boot_id, send_signal
from air_executor.process.procfs import ProcessStat
from air_executor.process.tree import AttemptTree, find_processes

STEP_PAUSE_S = 0.003
"""How long to wait between steps: a killed process needs a moment to vanish."""

_GIVE_UP_AFTER_S = 10.0
_MOST_NAMED = 20
_EMPTY_LOOKS_NEEDED = 2


class Sweep:
    """One tree's end, advanced step by step so that a single-threaded server keeps serving meanwhile."""

    def __init__(
        self, tree: AttemptTree, *, spared: Collection[int] = (), runner_was_just_reaped: bool = False
    ) -> None:
        self._tree = tree
        self._cgroup = AttemptCgroup(tree.cgroup) if tree.cgroup is not None else None
        self._spared = spared
        self._runner_was_just_reaped = runner_was_just_reaped
        self._gives_up_at = time.monotonic() + _GIVE_UP_AFTER_S
        self._empty_looks = 0
        self._ended: dict[tuple[int, int], str] = {}
        self._untouchable: set[tuple[int, int]] = set()

    @property
    def killed(self) -> tuple[str, ...]:
        """What was ended so far, as `name (pid)`; of many the first ones and how many more."""
        labels = tuple(self._ended.values())
        if len(labels) <= _MOST_NAMED:
            return labels
        return (*labels[:_MOST_NAMED], f"and {len(labels) - _MOST_NAMED} more")

    def advance(self) -> bool:
        """Kill what is found now; True when nothing is left, or what is left cannot be killed.

        One empty look proves little: a process that forks and exits can be passed by the listing. Two do.
        """
        found = [stat for stat in self._find() if (stat.pid, stat.start_ticks) not in self._untouchable]
        for stat in found:
            self._ended.setdefault((stat.pid, stat.start_ticks), stat.label)
        # The kernel's own kill also catches what is forked while it works.
        if self._cgroup is not None and self._cgroup.is_populated():
            self._cgroup.kill()
            self._empty_looks = -1
        for stat in found:
            self._kill(stat)
        self._empty_looks = 0 if found else self._empty_looks + 1
        # A process in an uninterruptible wait dies when its wait ends: nobody can do more, and others must go on.
        return self._empty_looks >= _EMPTY_LOOKS_NEEDED or time.monotonic() > self._gives_up_at

    def _find(self) -> list[ProcessStat]:
        return find_processes(self._tree, spared=self._spared, runner_was_just_reaped=self._runner_was_just_reaped)

    def _kill(self, stat: ProcessStat) -> None:
        try:
            send_signal(ProcessIdentity(stat.pid, stat.start_ticks, boot_id()), signal.SIGKILL)
        except PermissionError:
            self._untouchable.add((stat.pid, stat.start_ticks))
            self._ended.pop((stat.pid, stat.start_ticks), None)
            return
        if stat.parent_pid == os.getpid() and not self._is_runner(stat.pid):
            # An orphan that fell to us. The runner's exit status is for whoever collects it.
            try:
                os.waitpid(stat.pid, os.WNOHANG)
            except ChildProcessError:
                pass

    def _is_runner(self, pid: int) -> bool:
        return self._tree.runner is not None and self._tree.runner.pid == pid


def kill_all(
    tree: AttemptTree, *, spared: Collection[int] = (), runner_was_just_reaped: bool = False
) -> tuple[str, ...]:
    """SIGKILL an attempt's whole tree until nothing is left (at most about ten seconds); names what was ended."""
    sweep = Sweep(tree, spared=spared, runner_was_just_reaped=runner_was_just_reaped)
    while not sweep.advance():
        time.sleep(STEP_PAUSE_S)
    return sweep.killed
