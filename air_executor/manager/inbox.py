"""Finding what is new in the root: job directories, requests, and tasks.json files that somebody else put in place of ours."""

from __future__ import annotations

import logging
import os
import shutil
import time
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
_OLD_S = 3600.0


class Inbox:
    """Knows which directories of jobs/ it has seen, and looks only at those that it has not."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._settled: set[str] = set()
        """Names that need no further look: under the manager, finished, or refused."""
        self._incomplete: dict[str, float] = {}
        """Names to look at again, by the monotonic instant of the first look."""

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
        except FileNotFoundError:
            self._incomplete.pop(name, None)
            return None
        except (AirExecutorError, OSError) as error:
            self._refuse(name, error, now)
            return None
        if result is NotLoaded.INCOMPLETE:
            self._incomplete.setdefault(name, time.monotonic())
            return None
        self._incomplete.pop(name, None)
        self._settled.add(name)
        if not isinstance(result, LoadedJob):
            return None
        try:
            prepare_directory(self._root, result.job)
        except OSError as error:
            # Each attempt will say so in its own error.
            _log.error("job %s: %s: %s", name, error.filename, error.strerror)
        return result

    def _refuse(self, name: str, error: Exception, now: datetime) -> None:
        first_seen = self._incomplete.setdefault(name, time.monotonic())
        if time.monotonic() - first_seen < _SETTLED_AFTER_S:
            return
        del self._incomplete[name]
        self._settled.add(name)
        _log.error("job %s cannot be used: %s", name, error)
        try:
            set_aside(self._root, name, str(error), now)
        except (AirExecutorError, OSError) as problem:
            _log.error("job %s could not be marked as failed: %s", name, problem)


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


def clean_up(root: Root, keep_announced_s: float) -> None:
    """Remove what kills left in tmp/ and the directories of announced jobs that ended long ago."""
    with os.scandir(root.tmp) as entries:
        for entry in entries:
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_S:
                _remove(Path(entry.path))
    _remove_old_jobs(root, keep_announced_s)


def remove_ended_job(root: Root, name: str) -> None:
    """Remove the directory of an ended job, at once for whoever lists jobs/."""
    aside = root.tmp / f"removed.{name[:150]}.{time.time_ns()}"
    os.rename(root.job(name), aside)
    _remove(aside)


def _remove_old_jobs(root: Root, keep_announced_s: float) -> None:
    for name in root.job_names():
        directory = root.job(name)
        try:
            # The age first: it costs no reading.
            if time.time() - os.lstat(directory / "state.json").st_mtime < keep_announced_s:
                continue
            content, _ = read_bytes(directory / "state.json")
            state = decode_json(content, SubmittedState, directory / "state.json")
            if state.options.announce and state.state.is_terminal:
                remove_ended_job(root, name)
                _log.debug("job %s: removed, %.0f s after its end", name, keep_announced_s)
        except (AirExecutorError, OSError):
            continue


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
