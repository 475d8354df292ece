"""Keeping jobs/ small: finished jobs leave it by age and by number."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable

from air_executor.errors import AirExecutorError
from air_executor.manager.settings import ManagerSettings
from air_executor.store.archive import archive_job, remove_job, remove_leftovers
from air_executor.store.ended import forget_ended, mark_ended
from air_executor.store.files import decode_json, read_bytes
from air_executor.store.records import SubmittedState
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_UNANNOUNCED_S = 1.0
"""Between the record of an end in state.json and its announcement there is less."""
_MOST_AT_ONCE = 200
"""Jobs moved in one turn, so that the loop is never long away from its tasks."""


class Retention:
    """Knows the finished jobs in jobs/, oldest first, without looking at them again."""

    def __init__(self, root: Root, is_active: Callable[[str], bool]) -> None:
        """Know nothing yet.

        :param is_active: claims that a job is under the manager, as one that was retried after its end.
        """
        self._root = root
        self._is_active = is_active
        self._own: deque[tuple[float, str]] = deque()
        """Finished jobs of people, with the Unix time of their end."""
        self._announced: deque[tuple[float, str]] = deque()
        """Finished jobs that an executor submitted: their record is elsewhere."""

    def note_found(self, name: str) -> None:
        """Take note of a finished job that lies in jobs/."""
        path = self._root.job(name) / "state.json"
        try:
            content, status = read_bytes(path)
            state = decode_json(content, SubmittedState, path)
        except (AirExecutorError, OSError):
            return
        self.note(name, status.st_mtime, is_announced=state.options.announce)

    def note(self, name: str, ended_at: float, *, is_announced: bool) -> None:
        """Take note of a job that has finished."""
        (self._announced if is_announced else self._own).append((ended_at, name))

    def announce_again(self) -> None:
        """Announce the newest ends anew: the manager before this one may have been killed just before it did."""
        newest = max((ended_at for ended_at, _ in self._announced), default=0.0)
        for ended_at, name in self._announced:
            if ended_at >= newest - _UNANNOUNCED_S:
                with contextlib.suppress(OSError):
                    mark_ended(self._root, name)

    def apply(self, settings: ManagerSettings) -> bool:
        """Move what is too old or too much; returns whether more is to be moved at once."""
        remove_leftovers(self._root)
        more = self._shrink(self._own, settings.keep_finished_jobs, settings.archive_after_s, archive_job)
        return (
            self._shrink(self._announced, settings.keep_announced_jobs, settings.keep_announced_s, _remove_announced)
            or more
        )

    def _shrink(
        self,
        jobs: deque[tuple[float, str]],
        most: int,
        age_s: float,
        move: Callable[[Root, str], None],
    ) -> bool:
        for _ in range(_MOST_AT_ONCE):
            if not jobs or (len(jobs) <= most and time.time() - jobs[0][0] < age_s):
                return False
            _, name = jobs.popleft()
            try:
                if not self._is_active(name) and os.path.lexists(self._root.job(name)):
                    move(self._root, name)
            except OSError as error:
                _log.warning("job %s could not be moved out of jobs/: %s", name, error)
        return True


def _remove_announced(root: Root, name: str) -> None:
    remove_job(root, name)
    # Nobody came for it.
    forget_ended(root, name)
