"""Processes that outlived their parents and fell to the fork server: whose they are, and ending those of nobody.

Where attempts have cgroups this only finds what never was in one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container

from air_executor.process import procfs
from air_executor.process.identity import ProcessIdentity, boot_id, send_signal
from air_executor.process.protocol import MARK_VARIABLE

_MARK = MARK_VARIABLE.encode()


class Orphans:
    """The fork server's children that are not runners, as seen at the last look."""

    def __init__(self) -> None:
        """Remember the present children (helpers of what was preloaded), which are never touched."""
        self._helpers = {stat.pid for stat in _children()}
        self._owners: dict[tuple[int, int], str | None] = {}
        self._can_list_cheaply = procfs.list_children() is not None
        self._kept_attempts: set[str] = set()

    @property
    def can_look_cheaply(self) -> bool:
        """Whether the kernel lists children in one read; else `look` costs a pass over /proc."""
        return self._can_list_cheaply

    def spare_those_of(self, attempt_id: str) -> None:
        """Leave alone what an attempt leaves behind that asked to keep its processes.

        One without mark could be of such an attempt: from now on those are left alone as well.
        """
        self._kept_attempts.add(attempt_id)

    def look(self, runners: Container[int]) -> None:
        """Note orphans that came, with the attempt whose mark they bear, and forget those that went."""
        listed = procfs.list_children()
        is_familiar = listed is not None and all(pid in runners or pid in self._helpers for pid in listed)
        if is_familiar and not self._owners:
            return
        owners: dict[tuple[int, int], str | None] = {}
        for stat in _children(listed):
            if stat.pid in runners or stat.pid in self._helpers or stat.has_ended:
                continue
            key = (stat.pid, stat.start_ticks)
            if key in self._owners:
                owners[key] = self._owners[key]
            else:
                value = procfs.environment_value(stat.pid, _MARK)
                owners[key] = None if value is None else value.decode("utf-8", "replace")
        self._owners = owners

    def has_any_of(self, attempt_id: str) -> bool:
        """Tell whether an orphan at the last look bore this attempt's mark."""
        return attempt_id in self._owners.values()

    def end_unclaimed(self) -> None:
        """SIGKILL the orphans of nobody; call only when no attempt runs."""
        for (pid, start_ticks), owner in self._owners.items():
            if owner in self._kept_attempts or (owner is None and self._kept_attempts):
                continue
            try:
                send_signal(ProcessIdentity(pid, start_ticks, boot_id()), signal.SIGKILL)
            except PermissionError:
                continue


def _children(listed: list[int] | None = None) -> list[procfs.ProcessStat]:
    if listed is not None:
        return [stat for pid in listed if (stat := procfs.read_stat(pid)) is not None]
    own_pid = os.getpid()
    return [stat for stat in procfs.list_processes().values() if stat.parent_pid == own_pid]
