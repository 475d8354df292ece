"""Keeping jobs/ small: finished jobs leave it by age and by number."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Container

from air_executor.errors import AirExecutorError
from air_executor.manager.settings import ManagerSettings
from air_executor.store.archive import archive_job, remove_job, remove_leftovers
from air_executor.store.ended import ended_names, forget_ended, mark_ended
from air_executor.store.files import decode_json, read_bytes
from air_executor.store.records import SubmittedState
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_UNANNOUNCED_S = 1.0
"""Between the record of an end in state.json and its announcement there is less."""
_AWAITED_S = 86400.0
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
        self._own: dict[str, float] = {}
        """Unix times at which the finished jobs of people ended, oldest first."""
        self._announced: dict[str, float] = {}
        """The same of jobs that an executor submitted: their record is elsewhere."""

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
        # A job that was retried, or a name that was used again, goes by its newest end.
        self._own.pop(name, None)
        self._announced.pop(name, None)
        (self._announced if is_announced else self._own)[name] = ended_at

    def announce_again(self) -> None:
        """Announce the newest ends anew: the manager before this one may have been killed just before it did."""
        newest = max(self._announced.values(), default=0.0)
        for name, ended_at in self._announced.items():
            if ended_at >= newest - _UNANNOUNCED_S:
                with contextlib.suppress(OSError):
                    mark_ended(self._root, name)

    def apply(self, settings: ManagerSettings) -> bool:
        """Move what is too old or too much; returns whether more is to be moved at once."""
        remove_leftovers(self._root)
        more = self._shrink(self._own, settings.keep_finished_jobs, settings.archive_after_s, archive_job)
        awaited = {name for name in ended_names(self._root) if self._is_awaited(name)}
        return (
            self._shrink(
                self._announced,
                settings.keep_announced_jobs,
                settings.keep_announced_s,
                self._remove_announced,
                awaited,
            )
            or more
        )

    def _shrink(
        self,
        jobs: dict[str, float],
        most: int,
        age_s: float,
        move: Callable[[Root, str], None],
        spared: Container[str] = (),
    ) -> bool:
        too_many = len(jobs) - most
        due = [
            name
            for position, (name, ended_at) in enumerate(jobs.items())
            if (position < too_many or time.time() - ended_at >= age_s) and name not in spared
        ]
        for name in due[:_MOST_AT_ONCE]:
            del jobs[name]
            try:
                if not self._is_active(name) and os.path.lexists(self._root.job(name)):
                    move(self._root, name)
            except OSError as error:
                _log.warning("job %s could not be moved out of jobs/: %s", name, error)
        return len(due) > _MOST_AT_ONCE

    def _is_awaited(self, name: str) -> bool:
        """Claim that an executor may still come for the end of this job: then its directory stays."""
        return time.time() - self._announced.get(name, 0.0) < _AWAITED_S

    @staticmethod
    def _remove_announced(root: Root, name: str) -> None:
        remove_job(root, name)
        # Nobody came for it.
        forget_ended(root, name)
