"""One job under the manager: its journal, what waits for the journal to be on disk, and when its views are due."""

from __future__ import annotations

import time
from pathlib import Path

from air_executor.core.job import Job
from air_executor.core.snapshot import snapshot
from air_executor.manager.launcher import ServerKey
from air_executor.process.protocol import Launch
from air_executor.store.ended import mark_ended
from air_executor.store.files import temporary_name
from air_executor.store.journal import Journal
from air_executor.store.root import Root
from air_executor.store.views import write_views

_VIEW_COST_FACTOR = 20
"""Views take at most a twentieth of the time, however many tasks the job has."""


class JobRun:
    """A job, its journal, and what may happen only after the journal is on disk."""

    def __init__(self, job: Job, journal: Journal) -> None:
        self.job = job
        self.journal = journal
        self.launches: list[tuple[ServerKey, Launch]] = []
        """Recorded as launched; to be sent once the record is on disk."""
        self.view_due: float | None = None
        """Monotonic instant from which the views are rewritten; None if they say what is so."""
        self._view_pause_s = 0.0

    def note_change(self, now: float, view_interval_s: float) -> None:
        """Have the views rewritten, but not at once: more changes may follow."""
        if self.view_due is None:
            self.view_due = now + max(view_interval_s, self._view_pause_s)

    def publish_views(self, root: Root) -> Path | None:
        """Rewrite the views if they are not up to date; returns a stranger's tasks.json that stood in the way.

        :raises OSError: they could not be written; they stay due.
        """
        if self.view_due is None:
            return None
        begin = time.monotonic()
        stranger = write_views(root, self.job, self.journal)
        if self.journal.is_long:
            # Now, as every event that was collected has just been written.
            self.journal.compact(snapshot(self.job), root.tmp / temporary_name(f"{self.job.name}.journal"))
        self._view_pause_s = (time.monotonic() - begin) * _VIEW_COST_FACTOR
        self.view_due = None
        return stranger

    def announce_end(self, root: Root) -> None:
        """Tell those who wait that the job has ended; its views say so already.

        :raises OSError: it could not be written; call it again.
        """
        if self.job.options.announce:
            mark_ended(root, self.job.name)
