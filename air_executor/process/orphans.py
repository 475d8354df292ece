"""Processes that outlived their parents and fell to the fork server: whose they are, and ending those of nobody.

Where attempts have cgroups this only finds what never was in one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container

import msgspec

from air_executor.process import procfs
from air_executor.process.identity import ProcessIdentity, boot_id, send_signal
from air_executor.process.procfs import ProcessStat
from air_executor.process.protocol import MARK_VARIABLE

_MARK = MARK_VARIABLE.encode()


class _Orphan(msgspec.Struct, frozen=True):
    stat: ProcessStat
    attempt_id: str | None
    """Whose mark it bears; None when it cleared its environment."""


class Orphans:
    """The fork server's children that are not runners, as seen at the last look."""

    def __init__(self) -> None:
        """Remember the present children, helpers of what was preloaded."""
        self.helpers = {stat.pid for stat in _children(None)}
        """Children that are no orphans, and never touched."""
        self._orphans: dict[tuple[int, int], _Orphan] = {}
        self._kept_attempts: set[str] = set()
        self.can_look_cheaply = procfs.list_children() is not None
        """Whether the kernel lists children in one read; else `look` costs a pass over /proc."""

    def spare_those_of(self, attempt_id: str) -> None:
        """Leave alone what an attempt leaves behind that asked to keep its processes.

        One without mark could be of such an attempt: from now on those are left alone as well.
        """
        self._kept_attempts.add(attempt_id)

    def look(self, runners: Container[int]) -> None:
        """Note orphans that came and forget those that went; `runners` are the pids that are not orphans."""
        listed = procfs.list_children()
        if listed is not None:
            listed = [pid for pid in listed if pid not in runners and pid not in self.helpers]
            if not listed:
                self._orphans.clear()
                return
        orphans = {}
        for stat in _children(listed):
            if stat.pid in runners or stat.pid in self.helpers or stat.has_ended:
                continue
            key = (stat.pid, stat.start_ticks)
            orphans[key] = self._orphans.get(key) or _recognise(stat)
        self._orphans = orphans

    def has_any_of(self, attempt_id: str, runner_pid: int) -> bool:
        """Tell whether an orphan at the last look bore this attempt's mark or was of its runner's session."""
        return any(
            orphan.attempt_id == attempt_id or orphan.stat.session == runner_pid for orphan in self._orphans.values()
        )

    def end_unclaimed(self) -> None:
        """SIGKILL the orphans of nobody; call only when no attempt runs."""
        for orphan in self._orphans.values():
            if orphan.attempt_id in self._kept_attempts or (orphan.attempt_id is None and self._kept_attempts):
                continue
            try:
                send_signal(ProcessIdentity(orphan.stat.pid, orphan.stat.start_ticks, boot_id()), signal.SIGKILL)
            except PermissionError:
                continue


def _recognise(stat: ProcessStat) -> _Orphan:
    mark = procfs.environment_value(stat.pid, _MARK)
    return _Orphan(stat, None if mark is None else mark.decode("utf-8", "replace"))


def _children(listed: list[int] | None) -> list[ProcessStat]:
    if listed is not None:
        return [stat for pid in listed if (stat := procfs.read_stat(pid)) is not None]
    own_pid = os.getpid()
    return [stat for stat in procfs.list_processes().values() if stat.parent_pid == own_pid]
