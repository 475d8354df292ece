"""Taking in what others put into the root: jobs, requests, and tasks.json files of their own in place of ours."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from air_executor.core.events import JobCancelled, JobClosed, TasksReset
from air_executor.errors import AirExecutorError, JobNotFoundError
from air_executor.manager.board import Board
from air_executor.manager.inbox import Inbox
from air_executor.manager.job_run import JobRun
from air_executor.store.archive import restore_job
from air_executor.store.intake import LoadedJob, NotLoaded, load_job, read_tasks, unknown_tasks
from air_executor.store.records import SubmittedTask, utc_now
from air_executor.store.requests import (
    AnyRequest,
    CancelJob,
    CloseJob,
    QueueTasks,
    RetryTasks,
    list_requests,
    read_request,
    refuse_request,
)
from air_executor.store.root import Root
from air_executor.store.views import find_stranger, swapped_out, view_identity

_log = logging.getLogger(__name__)

_LOOKING_SHARE = 20
"""Listing very many directories takes at most a twentieth of the time."""


class Reception:
    """Finds what is new, at once where an event tells of it, else at the next look at everything."""

    def __init__(
        self,
        root: Root,
        board: Board,
        *,
        take_over: Callable[[JobRun], None],
        warm_up: Callable[[str], None],
        note_finished: Callable[[str], None],
    ) -> None:
        """Look at nothing yet.

        :param take_over: called with each new job once it is on the board.
        :param warm_up: called with the digest of an environment whose tasks will come soon.
        :param note_finished: called with the name of each job that is over already.
        """
        self._root = root
        self._board = board
        self._take_over = take_over
        self._warm_up = warm_up
        self._inbox = Inbox(root, note_finished, board.runs.__contains__)
        self._next_look = 0.0
        self._hopeless: set[Path] = set()
        """Requests that can be neither carried out nor removed."""

    def next_due(self) -> float:
        """Return the monotonic instant at which everything is to be looked at."""
        recheck_s = self._inbox.recheck_s
        return self._next_look if recheck_s is None else min(self._next_look, time.monotonic() + recheck_s)

    def look_everywhere(self) -> None:
        """List jobs and requests, as no event may have told of them."""
        begin = time.monotonic()
        was_incomplete = self._root.restore_directories()
        if begin < self._next_look and not was_incomplete:
            self._take_in(self._inbox.look([], utc_now()))
            return
        is_first = not self._next_look
        # Now, so that a look that fails is not repeated at once.
        self._next_look = begin + self._board.settings.rescan_s
        self._take_in(self._inbox.look(None, utc_now()))
        if is_first:
            self._merge_swapped_out()
        self.read_requests()
        for run in list(self._board.runs.values()):
            if not self._board.drop_if_removed(run):
                self.merge_stranger(run)
        cost_s = time.monotonic() - begin
        self._next_look = time.monotonic() + max(self._board.settings.rescan_s, cost_s * _LOOKING_SHARE)

    def look_again(self) -> None:
        """Have everything looked at as soon as possible."""
        self._next_look = min(self._next_look, time.monotonic())

    def look_at(self, paths: list[Path]) -> None:
        """Look where events said that something appeared."""
        names = [path.name for path in paths if path.parent == self._root.jobs]
        for name in names:
            if name in self._board.runs:
                # Another job took the place of one that is running.
                self._board.drop_if_removed(self._board.runs[name])
        self._take_in(self._inbox.look(names, utc_now()))
        if any(path.parent == self._root.requests for path in paths):
            self.read_requests()

    def read_requests(self) -> bool:
        """Carry out the requests that wait; one is removed only when its effect is on disk. False if some are left unread."""
        for path in list_requests(self._root):
            if path in self._hopeless:
                continue
            try:
                self._carry_out(read_request(path))
                self._remove_request(path)
            except FileNotFoundError:
                continue
            except AirExecutorError as error:
                _log.error("a request was refused: %s", error)
                self._refuse(path, str(error))
            except OSError as error:
                self._board.note_disk_error(error)
                return False
        return True

    def _refuse(self, path: Path, reason: str) -> None:
        try:
            refuse_request(path, reason)
        except OSError as error:
            self._leave_request(path, error)

    def _remove_request(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._leave_request(path, error)

    def _leave_request(self, path: Path, error: OSError) -> None:
        # Done with, and not to be removed: this manager does not look at it again.
        _log.error("%s cannot be removed (%s): remove it", path, error.strerror)
        self._hopeless.add(path)

    def merge_stranger(self, run: JobRun) -> None:
        """Take over tasks from a tasks.json that somebody else put in place of ours."""
        path = None if run.job.state.is_terminal else find_stranger(self._root, run.job)
        if path is not None:
            self._merge_file(run, path)
            # Ours replaces it, with what it added.
            self._board.show_soon(run)

    def merge_replaced(self, run: JobRun, path: Path) -> None:
        """Take over tasks from a stranger's file that our view has just replaced, and remove it."""
        if run.job.state.is_terminal:
            kept = self._root.job(run.job.name) / "tasks.json.refused"
            _log.error("job %s: its tasks.json was replaced after its end (kept as %s)", run.job.name, kept.name)
            with contextlib.suppress(OSError):
                os.replace(path, kept)
            return
        self._merge_file(run, path)
        with contextlib.suppress(OSError):
            path.unlink()

    def forget(self, name: str) -> None:
        """Look at this name again, as another job may have taken it."""
        self._inbox.forget(name)
        self._take_in(self._inbox.look([name], utc_now()))

    def _take_in(self, loaded: list[LoadedJob]) -> None:
        for job, journal, strangers in loaded:
            run = JobRun(self._root, job, journal)
            self._board.add(run)
            if strangers and not job.state.is_terminal:
                self._merge_file(run, self._root.job(job.name) / "tasks.json")
            self._take_over(run)
            _log.info("job %s: taken up, %d tasks", job.name, len(job.tasks))

    def _carry_out(self, request: AnyRequest) -> None:
        now = utc_now()
        if isinstance(request, QueueTasks):
            run = self._running_job(request.job)
            strangers = tuple(msgspec.convert(task, SubmittedTask, from_attributes=True) for task in request.tasks)
            self._merge(run, strangers)
            run.flush()
        elif isinstance(request, CancelJob):
            run = self._running_job(request.job)
            _log.info("job %s: cancelled%s", request.job, f": {request.reason}" if request.reason else "")
            if run.job.cancel_reason is None:
                self._board.record(run, JobCancelled(at=now, reason=request.reason))
            run.flush()
        elif isinstance(request, CloseJob):
            run = self._running_job(request.job)
            if run.job.is_open:
                self._board.record(run, JobClosed(at=now))
            run.flush()
        elif isinstance(request, RetryTasks):
            self._retry(request, now)
        else:
            self._warm_up(request.environment)

    def _retry(self, request: RetryTasks, now: datetime) -> None:
        run = self._board.runs.get(request.job)
        if run is None or run.job.state.is_terminal:
            self._reopen(request, now)
            return
        tasks = run.job.tasks_to_reset(request.tasks)
        if tasks:
            self._board.record(run, TasksReset(at=now, tasks=tasks))
            run.flush()

    def _reopen(self, request: RetryTasks, now: datetime) -> None:
        """Have a job that was over go on."""
        with contextlib.suppress(FileNotFoundError):
            restore_job(self._root, request.job)
        try:
            loaded = load_job(self._root, request.job, now, reopen=True)
        except FileNotFoundError:
            loaded = NotLoaded.INCOMPLETE
        if not isinstance(loaded, LoadedJob) or request.job in self._board.runs:
            raise JobNotFoundError(f"there is no job {request.job} that could be retried now")
        tasks = loaded.job.tasks_to_reset(request.tasks)
        if tasks:
            event = TasksReset(at=now, tasks=tasks)
            loaded.journal.add(event)
            loaded.job.apply(event)
        elif loaded.job.state.is_terminal:
            return
        # Without tasks it was reset by a manager that was killed before its views said so.
        self._take_in([loaded])
        # At once, before the request is answered: whoever waits then must not take the old end for the new one.
        self._board.runs[request.job].publish_views()

    def _running_job(self, name: str) -> JobRun:
        if name not in self._board.runs:
            # It may have been submitted a moment ago.
            self._take_in(self._inbox.look([name], utc_now()))
        run = self._board.runs.get(name)
        if run is None or run.job.state.is_terminal:
            raise JobNotFoundError(f"job {name} is over or does not exist")
        return run

    def _merge_swapped_out(self) -> None:
        """Take over strangers' files that an earlier manager swapped out for its view and was killed before it read them."""
        for name, path in swapped_out(self._root):
            run = self._board.runs.get(name)
            if run is None or run.job.state.is_terminal or view_identity(path) in run.job.view_identities:
                continue
            try:
                self._merge(run, read_tasks(path) or ())
            except AirExecutorError as error:
                # Most likely a view of our own that was not complete when the manager was killed.
                _log.warning("job %s: a file in tmp/ was not taken over: %s", name, error)

    def _merge_file(self, run: JobRun, path: Path) -> None:
        try:
            self._merge(run, read_tasks(path) or ())
        except AirExecutorError as error:
            _log.error("job %s fails: %s", run.job.name, error)
            kept = self._root.job(run.job.name) / "tasks.json.refused"
            with contextlib.suppress(OSError):
                os.replace(path, kept)
            reason = f"{error} (kept as {kept.name})"
            self._board.record(run, JobCancelled(at=utc_now(), reason=reason, is_failure=True))

    def _merge(self, run: JobRun, strangers: tuple[SubmittedTask, ...]) -> None:
        events = unknown_tasks(run.job, strangers, utc_now())
        if events:
            self._board.record(run, *events)
            _log.info("job %s: has %d tasks now", run.job.name, len(run.job.tasks))
