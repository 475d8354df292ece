"""All jobs under the manager: recording what happens to them, writing it down, publishing views and ends."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from air_executor.core.events import Event
from air_executor.core.planning import Planner
from air_executor.manager.history_keeper import HistoryKeeper
from air_executor.manager.job_run import JobRun
from air_executor.manager.settings import ManagerSettings
from air_executor.manager.tally import Tally
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_RETRY_DISK_S = 1.0


class Board:
    """The jobs that are not over. A disk that refuses stops all writing for a moment; nothing is forgotten meanwhile."""

    def __init__(self, root: Root, planner: Planner, settings: ManagerSettings) -> None:
        self.settings = settings
        self.tally = Tally()
        self.history = HistoryKeeper(root)
        self.runs: dict[str, JobRun] = {}
        self._root = root
        self._planner = planner
        self._to_flush: dict[str, JobRun] = {}
        self._to_view: dict[str, JobRun] = {}
        """Jobs whose views do not say what is so."""
        self._finished: dict[str, JobRun] = {}
        """Recorded as finished, but not yet published."""
        self._removed: list[JobRun] = []
        self._ended: list[JobRun] = []
        self._blocked_until = 0.0
        """Monotonic instant before which nothing is written, because the disk refused."""

    @property
    def has_unpublished_ends(self) -> bool:
        """Claim that a job has finished and nobody can know it yet."""
        return bool(self._finished)

    def add(self, run: JobRun) -> None:
        """Take over a job that was just loaded."""
        self.tally.jobs_taken += 1
        run.history = self.history
        self.runs[run.job.name] = run
        self._to_flush[run.job.name] = run
        self._note_view(run)
        if run.job.state.is_terminal:
            # A manager was killed between the record of the end and its publication.
            self._finished[run.job.name] = run
        else:
            self._planner.reconsider(run.job)

    def record(self, run: JobRun, *events: Event) -> None:
        """Apply events to a job and collect them for its journal.

        :raises InvalidTransitionError: an event does not fit; it and those after it were not recorded.
        """
        for event in events:
            run.job.apply(event)
            run.journal.add(event)
            self.tally.note_event(run.job, event)
        self._to_flush[run.job.name] = run
        self._note_view(run)
        if run.job.state.is_terminal:
            self._finished[run.job.name] = run
            self._planner.forget(run.job)
        else:
            self._planner.reconsider(run.job)

    def show_soon(self, run: JobRun) -> None:
        """Rewrite the views of a job at the next opportunity."""
        run.view_due = time.monotonic()
        self._to_view[run.job.name] = run

    def flush(self) -> list[JobRun]:
        """Write the journals of jobs to which something happened; returns those that were written."""
        if time.monotonic() < self._blocked_until:
            return []
        written: list[JobRun] = []
        for name, run in list(self._to_flush.items()):
            begin = time.monotonic()
            try:
                run.flush()
            except FileNotFoundError as error:
                if self.drop_if_removed(run):
                    continue
                self.note_disk_error(error)
                break
            except OSError as error:
                self.note_disk_error(error)
                break
            self.tally.journal_flush.observe(time.monotonic() - begin)
            del self._to_flush[name]
            written.append(run)
        return written

    def publish(self) -> list[tuple[JobRun, Path]]:
        """Rewrite the views that are due and announce ends; returns strangers' files that stood in place of tasks.json."""
        now = time.monotonic()
        if now < self._blocked_until:
            return []
        strangers: list[tuple[JobRun, Path]] = []
        due = [run for run in self._to_view.values() if run.view_due is not None and run.view_due <= now]
        ended = [run for name, run in self._finished.items() if name not in self._to_flush]
        for run in dict.fromkeys([*due, *ended]):
            try:
                stranger = run.publish_views()
                if run.job.state.is_terminal:
                    run.announce_end()
                    self._forget(run)
                    self._ended.append(run)
                self._to_view.pop(run.job.name, None)
                if stranger is not None:
                    strangers.append((run, stranger))
            except FileNotFoundError as error:
                if not self.drop_if_removed(run):
                    self.note_disk_error(error)
                    break
            except OSError as error:
                self.note_disk_error(error)
                break
        return strangers

    def take_ended(self) -> list[JobRun]:
        """Return jobs whose end was published since the last call; they are forgotten here."""
        ended, self._ended = self._ended, []
        return ended

    def drop_if_removed(self, run: JobRun) -> bool:
        """Forget a job whose directory somebody removed; `take_removed` returns it."""
        if run.is_in_place:
            return False
        _log.warning("job %s: its directory was removed; what runs of it is ended", run.job.name)
        self._forget(run)
        self._planner.forget(run.job)
        self._removed.append(run)
        return True

    def take_removed(self) -> list[JobRun]:
        """Return jobs whose directory somebody removed; they are forgotten here."""
        removed, self._removed = self._removed, []
        return removed

    def next_due(self) -> float | None:
        """Return the monotonic instant at which there is something to write."""
        due = min((run.view_due for run in self._to_view.values() if run.view_due is not None), default=None)
        if self._to_flush or self._finished:
            due = time.monotonic()
        return None if due is None else max(due, self._blocked_until)

    def note_disk_error(self, error: OSError) -> None:
        """Say what the disk refused and write nothing for a moment."""
        self._blocked_until = time.monotonic() + _RETRY_DISK_S
        self.tally.disk_errors += 1
        _log.error(
            "%s: %s; nothing new is started until it can be written, what runs goes on",
            error.filename or self._root.path,
            error.strerror,
        )

    def _note_view(self, run: JobRun) -> None:
        run.note_change(time.monotonic(), self.settings.view_interval_s)
        self._to_view[run.job.name] = run

    def _forget(self, run: JobRun) -> None:
        for mapping in (self.runs, self._to_flush, self._to_view, self._finished):
            mapping.pop(run.job.name, None)
