"""The manager's part in the history: it keeps journals until they are recorded, and starts the process that records them.

The manager itself never touches the database, nor waits for it.
"""

from __future__ import annotations

import logging
import os
import time

from air_executor.config import SECRET_VARIABLES
from air_executor.errors import RootError
from air_executor.process.companion import Companion
from air_executor.store.backlog import Backlog, kept_journals
from air_executor.store.history_status import read_history_status
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_MODULE = "air_executor.history.writer"
_START_AFTER_S = 0.5
"""After the first news: a job that begins has better to do."""
_IDLE_S = 20.0
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0


class HistoryKeeper:
    """Nothing is lost while no writer runs: what is kept in `history/` is recorded by the next one."""

    def __init__(self, root: Root) -> None:
        """Do nothing yet, until `switch` is called."""
        self._root = root
        # Not for fork servers and their tasks: it may hold a password.
        self._variables = {name: os.environ.pop(name) for name in SECRET_VARIABLES if name in os.environ}
        self._backlog: Backlog | None = None
        self._writer: Companion | None = None
        self._has_news = False
        self._due: float | None = None
        """Monotonic instant at which a writer is to be started, or told to leave."""
        self._pause_s = _FIRST_PAUSE_S
        self._told: str | None = None

    def switch(self, *, on: bool) -> None:
        """Keep journals from now on, or no longer; what is kept is recorded in any case."""
        if on and self._backlog is None:
            try:
                self._backlog = Backlog(self._root)
            except (OSError, RootError) as error:
                self._tell(f"journals cannot be kept for the history: {error}")
        elif not on:
            self._backlog = None
        if kept_journals(self._root):
            self._note_news()

    def note_flush(self, job_name: str, *, is_kept: bool, durable: bool) -> bool:
        """Take note that a journal was written, and keep it if it is not; returns whether it is kept.

        Raises no error: a job does not fail for its history.
        """
        if self._backlog is None:
            return is_kept
        self._note_news()
        if is_kept:
            return True
        try:
            return self._backlog.keep(job_name, durable=durable)
        except (OSError, RootError) as error:
            self._tell(f"job {job_name} may be missing in the history: its journal cannot be kept: {error}")
            return False

    def advance(self) -> None:
        """Start the writer, wake it, or let it go, as is due."""
        now = time.monotonic()
        if self._writer is not None and self._writer.has_exited():
            self._note_exit(now)
        if self._writer is None:
            if self._has_news and self._due is not None and now >= self._due:
                self._start(now)
        elif self._has_news and not self._writer.is_finishing:
            self._writer.wake()
            self._has_news, self._due = False, now + _IDLE_S
        elif self._due is not None and now >= self._due:
            self._writer.finish()
            self._due = None

    def next_due(self) -> float | None:
        """Return the monotonic instant at which `advance` has something to do."""
        return self._due

    def leave(self) -> None:
        """Let the writer do what is left by itself."""
        if self._writer is not None:
            self._writer.finish()

    def _note_news(self) -> None:
        if not self._has_news:
            self._has_news = True
            if self._writer is None and self._due is None:
                self._due = time.monotonic() + _START_AFTER_S

    def _start(self, now: float) -> None:
        environment = {**os.environ, **self._variables}
        arguments = ["--base-path", str(self._root.path)]
        try:
            self._writer = Companion(
                _MODULE, arguments, log_path=str(self._root.run / "history.log"), environment=environment
            )
        except OSError as error:
            self._fail(now, f"its writer could not be started: {error}")
            return
        self._has_news, self._due = False, now + _IDLE_S

    def _note_exit(self, now: float) -> None:
        assert self._writer is not None
        was_told_to_leave = self._writer.is_finishing
        self._writer.finish()
        self._writer = None
        status = read_history_status(self._root)
        error = status.error if status is not None else None
        if error is not None or not was_told_to_leave:
            self._has_news = True
            self._fail(now, error or f"its writer ended by itself, see {self._root.run / 'history.log'}")
            return
        if self._told is not None:
            self._told = None
            _log.info("the history is recorded again")
        self._pause_s = _FIRST_PAUSE_S
        self._due = now + _START_AFTER_S if self._has_news else None

    def _fail(self, now: float, error: str) -> None:
        self._due = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._tell(f"the history cannot be recorded: {error}; jobs run on, and are recorded when that is mended")

    def _tell(self, message: str) -> None:
        """Log a message once, until something else is to be told."""
        if message != self._told:
            self._told = message
            _log.error("%s", message)
