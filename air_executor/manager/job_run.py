"""One job under the manager: its journal, what waits for the journal to be on disk, and when its views are due."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

from air_executor.core.job import Job
from air_executor.core.snapshot import snapshot
from air_executor.manager.history_keeper import HistoryKeeper
from air_executor.manager.launcher import ServerKey
from air_executor.process.protocol import Launch
from air_executor.store.ended import mark_ended
from air_executor.store.files import temporary_name
from air_executor.store.journal import Journal, JournalCutError
from air_executor.store.root import Root
from air_executor.store.views import write_views

_log = logging.getLogger(__name__)

_VIEW_COST_FACTOR = 20
"""Views take at most a twentieth of the time, however many tasks the job has."""


class JobRun:
    """A job, its journal, and what may happen only after the journal is on disk."""

    def __init__(self, root: Root, job: Job, journal: Journal) -> None:
        self.job = job
        self.journal = journal
        self._root = root
        self._directory = _identity(root, job.name)
        self.launches: list[tuple[ServerKey, Launch]] = []
        """Recorded as launched; to be sent once the record is on disk."""
        self.view_due: float | None = None
        """Monotonic instant from which the views are rewritten; None if they say what is so."""
        self._view_pause_s = 0.0
        self.history: HistoryKeeper | None = None
        self._is_journal_kept = False

    def note_change(self, now: float, view_interval_s: float) -> None:
        """Have the views rewritten, but not at once: more changes may follow."""
        if self.view_due is None:
            self.view_due = now + max(view_interval_s, self._view_pause_s)

    @property
    def is_in_place(self) -> bool:
        """Claim that the job's directory is the one that was loaded: another of its name is another job."""
        return self._directory is not None and self._directory == _identity(self._root, self.job.name)

    def flush(self) -> None:
        """Write down what happened.

        :raises FileNotFoundError: the job's directory was removed or replaced.
        :raises OSError: the disk is full, read-only or broken; nothing is lost, call it again.
        """
        if not self.is_in_place:
            raise FileNotFoundError(errno.ENOENT, "the job's directory was removed", str(self._root.job(self.job.name)))
        try:
            self.journal.flush()
        except JournalCutError as error:
            _log.error("job %s: %s: %s; it is written anew", self.job.name, error.filename, error.strerror)
            self._rewrite_journal()
        if self.history is not None:
            # Before any view says how the job ended: what nobody knows yet may still be missing in the history.
            self._is_journal_kept = self.history.note_flush(
                self.job.name, is_kept=self._is_journal_kept, durable=self.job.options.durable
            )

    def publish_views(self) -> Path | None:
        """Rewrite the views if they are not up to date; returns a stranger's tasks.json that stood in the way.

        :raises FileNotFoundError: the job's directory was removed or replaced.
        :raises OSError: they could not be written; they stay due.
        """
        if self.view_due is None:
            return None
        self.flush()
        begin = time.monotonic()
        stranger = write_views(self._root, self.job, self.journal)
        if self.journal.is_long:
            # Now, as every event that was collected has just been written.
            try:
                self._rewrite_journal()
            except OSError as error:
                # It is long, and whole: another time.
                _log.warning("job %s: its journal could not be compacted: %s", self.job.name, error.strerror)
        self._view_pause_s = (time.monotonic() - begin) * _VIEW_COST_FACTOR
        self.view_due = None
        return stranger

    def announce_end(self) -> None:
        """Tell those who wait that the job has ended; its views say so already.

        :raises OSError: it could not be written; call it again.
        """
        for task in self.job.tasks.values():
            if task.spec.workload is not None:
                # A runner removes it when it has read it; one that never started has not. It holds a token.
                (self._root.job(self.job.name) / task.spec.workload).unlink(missing_ok=True)
        if self.job.options.announce:
            mark_ended(self._root, self.job.name)

    def _rewrite_journal(self) -> None:
        self.journal.rewrite(snapshot(self.job), self._root.tmp / temporary_name(f"{self.job.name}.journal"))
        self._is_journal_kept = False


def _identity(root: Root, name: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(root.job(name))
    except OSError:
        return None
    return status.st_dev, status.st_ino
