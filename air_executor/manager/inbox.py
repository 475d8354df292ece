"""Finding what is new in the root: job directories, requests, and tasks.json files that somebody else put in place of ours."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from air_executor.core.names import is_plain_name
from air_executor.core.states import JobState
from air_executor.errors import AirExecutorError
from air_executor.store.files import decode_json, read_bytes
from air_executor.store.intake import LoadedJob, NotLoaded, load_job, prepare_directory
from air_executor.store.records import StateRecord, SubmittedState, as_utc
from air_executor.store.root import Root
from air_executor.store.views import write_failed_state

_log = logging.getLogger(__name__)

_SETTLED_AFTER_S = 2.0
"""A file that cannot be read may be in the middle of being written; unchanged for this long it is broken."""
_RECHECK_S = 0.05
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM})

_Files = tuple[tuple[int, int, int] | None, ...]


class Inbox:
    """Knows which directories of jobs/ it has seen, and looks only at those that it has not."""

    def __init__(self, root: Root, note_finished: Callable[[str], None], is_active: Callable[[str], bool]) -> None:
        """Look at nothing yet.

        :param note_finished: called with the name of each job that is over already.
        :param is_active: claims that a job is under the manager.
        """
        self._root = root
        self._note_finished = note_finished
        self._is_active = is_active
        self._settled: set[str] = set()
        """Names that need no further look: under the manager, finished, or refused."""
        self._incomplete: dict[str, float] = {}
        """Names to look at again, by the monotonic instant of the first look."""
        self._broken: dict[str, tuple[_Files, float]] = {}
        """Names whose files cannot be used: these files, and the monotonic instant since which they have not changed."""

    @property
    def recheck_s(self) -> float | None:
        """Seconds until `look` should be called although nothing appeared; None if no directory is incomplete."""
        if not self._incomplete:
            return None
        youngest = time.monotonic() - max(self._incomplete.values())
        return _RECHECK_S if youngest < _SETTLED_AFTER_S else None

    def look(self, names: list[str] | None, now: datetime) -> list[LoadedJob]:
        """Return the jobs that are new.

        :param names: where to look; None lists jobs/ whole.
        """
        everything = names is None
        candidates = set(self._root.job_names() if names is None else names) | self._incomplete.keys()
        if everything:
            # A directory that is gone may come again under its name.
            self._settled &= candidates
            self._incomplete = {name: since for name, since in self._incomplete.items() if name in candidates}
            self._broken = {name: since for name, since in self._broken.items() if name in candidates}
        else:
            # What has just appeared under the name of a job that is over is another one.
            self._settled -= {name for name in candidates if not self._is_active(name)}
        loaded: list[LoadedJob] = []
        for name in sorted(candidates - self._settled):
            job = self._load(name, now)
            if job is not None:
                loaded.append(job)
        return loaded

    def forget(self, name: str) -> None:
        """Look at this name again if it appears again."""
        self._settled.discard(name)

    def _load(self, name: str, now: datetime) -> LoadedJob | None:
        if not is_plain_name(name):
            return None
        try:
            result = load_job(self._root, name, now)
            if isinstance(result, LoadedJob):
                prepare_directory(self._root, result.job)
        except FileNotFoundError:
            self._incomplete.pop(name, None)
            return None
        except AirExecutorError as error:
            self._refuse(name, error, now)
            return None
        except OSError as error:
            # Too many open files, a disk that does not answer: the job may be all right, and is looked at again.
            if name not in self._incomplete:
                _log.error("job %s cannot be read now: %s: %s", name, error.filename, error.strerror)
            self._incomplete.setdefault(name, time.monotonic())
            return None
        if result is NotLoaded.INCOMPLETE:
            self._incomplete.setdefault(name, time.monotonic())
            return None
        self._incomplete.pop(name, None)
        self._broken.pop(name, None)
        self._settled.add(name)
        if not isinstance(result, LoadedJob):
            self._note_finished(name)
            return None
        return result

    def _refuse(self, name: str, error: Exception, now: datetime) -> None:
        self._incomplete.setdefault(name, time.monotonic())
        files = tuple(_identity(self._root.jobs / name / file) for file in ("state.json", "tasks.json", "journal"))
        seen, since = self._broken.get(name, (None, 0.0))
        if seen != files:
            self._broken[name] = files, time.monotonic()
            return
        if time.monotonic() - since < _SETTLED_AFTER_S:
            return
        try:
            set_aside(self._root, name, str(error), now)
        except (AirExecutorError, OSError) as problem:
            _log.error("job %s could not be marked as failed: %s", name, problem)
            if isinstance(problem, OSError) and problem.errno in _PASSING:
                return
        del self._incomplete[name], self._broken[name]
        self._settled.add(name)
        _log.error("job %s cannot be used: %s", name, error)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def set_aside(root: Root, name: str, error: str, now: datetime) -> None:
    """Make a job's state.json say that it failed because of its files; the files stay as they are.

    :raises OSError: it could not be written, as in a directory that is a symbolic link.
    """
    directory = root.job(name)
    if directory.is_symlink():
        return
    try:
        content, _ = read_bytes(directory / "state.json")
        state = decode_json(content, SubmittedState, directory / "state.json")
    except (AirExecutorError, OSError):
        state = SubmittedState()
    write_failed_state(
        root,
        name,
        StateRecord(
            id=state.id or name,
            name=name,
            state=JobState.FAILED,
            created_at=as_utc(state.created_at, now),
            updated_at=now,
            error=error,
            options=state.options,
            labels=state.labels,
        ),
    )
