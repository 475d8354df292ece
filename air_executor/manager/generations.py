"""Generations of warm parents: what each has loaded, when it is out of date, and when a new one is tried. Starts no process itself."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from air_executor.core import preload
from air_executor.core.preload import Began, Learned, Line, Passed
from air_executor.store.environments import Environment
from air_executor.store.learned import LearnedFiles, files_of, list_learned
from air_executor.store.records import utc_now
from air_executor.store.root import Root
from air_executor.store.stamps import Stamp, find_changed, read_stamps

_log = logging.getLogger(__name__)

_RENEWAL_INTERVAL_S = 10.0
"""A file that changes all the time must not have a warm parent started for each task."""
_EXIT_WAIT_S = 0.1
_RECORD_AGE_S = 7 * 86400.0
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM)
"""Sent by people, or by a kernel that is out of memory: no module is to blame."""


@dataclass
class Generation:
    """One warm parent: how it was started, and what it has said in its record."""

    environment: str
    python: str
    name: str
    is_trial: bool
    is_plain: bool
    """Loads nothing that was learned: the one before it did not get ready."""
    files: LearnedFiles
    is_learning: bool = False
    """Its tasks report what they import. False until it serves."""
    loaded: frozenset[str] = frozenset()
    stamps: tuple[Stamp, ...] = ()
    looks_at: float | None = None
    """Monotonic instant at which to look for reports; None while there is no news."""
    untried_since: float | None = None
    """Since when there is something that a trial could add."""
    next_trial_at: float = 0.0

    def arguments(self) -> list[str]:
        """Return what a warm parent is told of it on its command line."""
        words = ["--learned", str(self.files.directory), "--generation", self.name]
        if self.is_plain:
            return [*words, "--mode", "plain"]
        return [*words, "--mode", "trial" if self.is_trial else "verified"]


class Generations:
    """Keeps what was learned for each environment; the only writer of its `learned.json`."""

    def __init__(self, root: Root, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._renewed_at: dict[str, float] = {}

    def begin(
        self, digest: str, environment: Environment, name: str, *, is_trial: bool = False, is_plain: bool = False
    ) -> Generation | None:
        """Prepare a generation that is about to be started; None where nothing can be kept of it.

        :param name: unique; part of file names.
        """
        files = files_of(self._root, digest)
        # What somebody has cleared must not come back from another environment.
        is_new = not files.directory.exists()
        try:
            files.create()
            if files.read() is None:
                files.write(self._inherit(environment.python) if is_new else Learned(environment.python))
        except OSError as error:
            _log.warning("nothing is learned about what tasks import: %s", error)
            return None
        return Generation(digest, environment.python, name, is_trial, is_plain, files)

    def _inherit(self, python: str) -> Learned:
        """Start from what another environment of the same interpreter has seen: a variable may have changed, the tasks have not."""
        for _, files in list_learned(self._root):
            other = files.read()
            if other is not None and other.python == python and (other.seen or other.loaded):
                preload.renew(other, "", utc_now())
                other.fingerprint = None
                return other
        return Learned(python)

    def note_passed(self, generation: Generation) -> None:
        """Take note that a generation says it is ready."""
        lines = generation.files.read_record(generation.name)
        self._take(generation, lines, ended=None)
        generation.loaded = preload.list_loaded(lines)
        generation.is_learning = bool(lines) and isinstance(lines[-1], Passed) and lines[-1].is_learning
        generation.stamps = read_stamps(generation.files.stamps(generation.name))
        self.note_news(generation)

    def note_ended(self, generation: Generation, pid: int) -> None:
        """Take note that a generation's process is gone, or going."""
        lines = generation.files.read_record(generation.name)
        if not lines or not isinstance(lines[-1], Passed):
            self._take(generation, lines, ended=_describe_end(pid))
        generation.files.discard_record(generation.name)

    def _take(self, generation: Generation, lines: list[Line], ended: str | None) -> None:
        learned = generation.files.read()
        if learned is None or not any(isinstance(line, Began) for line in lines):
            return
        denied_before = set(learned.denied)
        is_blameless = ended is not None and any(ended.startswith(number.name) for number in _FROM_OUTSIDE)
        if is_blameless and isinstance(lines[-1], preload.Importing):
            lines = lines[:-1]
        preload.take_record(learned, lines, utc_now(), ended=ended, was_trial=generation.is_trial)
        self._write(generation.files, learned)
        for name in learned.denied.keys() - denied_before:
            _log.info("%s is not loaded ahead of tasks: %s", name, learned.denied[name].reason)

    def _write(self, files: LearnedFiles, learned: Learned) -> None:
        try:
            files.write(learned)
        except OSError as error:
            _log.warning("%s: what was learned could not be written: %s", files.learned, error.strerror)

    # Renewal

    def why_outdated(self, generation: Generation) -> str | None:
        """Return what has changed since a generation was made, None if nothing has, or if one was renewed just now.

        Costs one `stat` for each stamp: the package directories, the configuration, and what is loaded from elsewhere.
        """
        changed = find_changed(generation.stamps)
        if changed is None and self._was_cleared(generation):
            changed = str(generation.files.learned)
        now = self._clock()
        last = self._renewed_at.get(generation.environment)
        if changed is None or (last is not None and now - last < _RENEWAL_INTERVAL_S):
            return None
        self._renewed_at[generation.environment] = now
        return changed

    def _was_cleared(self, generation: Generation) -> bool:
        # Without anything loaded there is nothing to renew: it goes on learning.
        return bool(generation.loaded) and not generation.files.learned.exists()

    # Trials

    def note_news(self, generation: Generation) -> None:
        """Take note that a task has ended: it may have left a report."""
        if generation.is_learning and generation.looks_at is None:
            generation.looks_at = self._clock() + preload.QUIET_S

    def look(self, generation: Generation) -> None:
        """Read reports if it is time; find out whether a trial would add anything."""
        now = self._clock()
        if generation.looks_at is None or now < generation.looks_at:
            return
        generation.looks_at = None
        reports = generation.files.take_reports()
        learned = generation.files.read()
        if learned is None:
            generation.untried_since = None
            if self._was_cleared(generation):
                return
            learned = Learned(generation.python)
        instant = utc_now()
        if preload.take_reports(learned, reports, instant):
            preload.forget_old(learned, instant)
            self._write(generation.files, learned)
        if not preload.find_untried(learned, generation.loaded, instant):
            generation.untried_since = None
            return
        if generation.untried_since is None:
            generation.untried_since = now
        generation.next_trial_at = now + _pause_left_s(learned, instant)

    def trial_due_at(self, generation: Generation, quiet_since: float | None) -> float | None:
        """Return the monotonic instant from which a trial may start, None if there is nothing to try.

        :param quiet_since: since when nothing has run; None while something runs.
        """
        if generation.untried_since is None:
            return None
        latest = generation.untried_since + preload.LATEST_S
        due = latest if quiet_since is None else min(latest, quiet_since + preload.QUIET_S)
        return max(due, generation.next_trial_at)

    def note_trial(self, generation: Generation) -> None:
        """Take note that a trial for this serving generation was started: the next one waits for news."""
        generation.untried_since = None
        generation.looks_at = None

    def tidy(self, in_use: Iterable[str]) -> None:
        """Remove what was learned for environments that are no longer kept, and records that a killed manager has left."""
        used = set(in_use)
        for digest, files in list_learned(self._root):
            is_kept = digest in used or (self._root.environments / f"{digest}.json").exists()
            # A directory without such a file is somebody's own.
            if not is_kept and files.learned.exists():
                shutil.rmtree(files.directory, ignore_errors=True)
            elif is_kept:
                files.discard_old_records(_RECORD_AGE_S)


def _pause_left_s(learned: Learned, now: datetime) -> float:
    if learned.trial is None:
        return 0.0
    return max(preload.trial_pause_s(learned.trial) - (now - learned.trial.ended_at).total_seconds(), 0.0)


def _describe_end(pid: int) -> str:
    """Say how a child ended, without reaping it: its channel closes a moment before its exit can be collected."""
    gives_up_at = time.monotonic() + _EXIT_WAIT_S
    while time.monotonic() < gives_up_at:
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                time.sleep(0.002)
                continue
            if found.si_code == os.CLD_EXITED:
                return f"exit code {found.si_status}"
            return _name_signal(found.si_status)
        break
    return "it ended, nobody saw how"


def _name_signal(number: int) -> str:
    if number == signal.SIGALRM:
        return "SIGALRM (it took too long)"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
