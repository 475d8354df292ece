"""Runners that no fork server of this manager looks after: left by an earlier manager, or by a fork server that was killed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from air_executor.manager.attempts import Attempt
from air_executor.process.attempt_log import create_attempt_log, is_locked
from air_executor.process.exits import collect
from air_executor.process.identity import age_s, is_running, open_pidfd
from air_executor.process.protocol import Ended, NotStarted, Report, Started
from air_executor.process.spool import read_spool, spool_is_live
from air_executor.process.sweep import kill_all
from air_executor.process.tree import find_runner


class Lost(NamedTuple):
    """The attempt started, and nobody can say how it ended."""

    killed: tuple[str, ...]
    """What was left of its process tree and was ended now."""


class NeverStarted(NamedTuple):
    """The attempt was claimed here before anybody else did: it never ran and never will."""


Fate = Ended | NotStarted | Lost | NeverStarted


class Spools:
    """What the fork servers of this root have written, also those of earlier managers."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes: dict[Path, int] = {}
        self.started: dict[str, Started] = {}
        self.fates: dict[str, Ended | NotStarted] = {}
        self.sources: dict[str, Path] = {}
        """The spool that told of an attempt's start."""
        self.own: set[Path] = set()
        """Spools of this manager's own servers that live: they tell of their attempts by their channels."""

    def paths(self) -> list[Path]:
        """Return the spools that exist."""
        return sorted(self._directory.glob("*.jsonl"))

    def read(self) -> None:
        """Read those that have grown since the last call."""
        for path in self._others():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                size = path.stat().st_size
                if self._sizes.get(path) != size:
                    self.take(read_spool(str(path)), path)
                    self._sizes[path] = size

    def take(self, reports: Iterable[Report], path: Path) -> None:
        """Note what one spool says."""
        for report in reports:
            if isinstance(report, Started):
                self.started[report.attempt_id] = report
                self.sources[report.attempt_id] = path
            elif isinstance(report, Ended) or (isinstance(report, NotStarted) and not report.already_claimed):
                self.fates[report.attempt_id] = report

    def any_live(self, path: Path | None) -> bool:
        """Claim that the server of this spool lives, or, where it is not known, that any server of an earlier manager does."""
        # A server of ours never had an attempt that an earlier manager launched, nor one whose own server is gone.
        paths = [path] if path is not None else self._others()
        return any(spool_is_live(str(each)) for each in paths if each.exists())

    def _others(self) -> list[Path]:
        return [path for path in self.paths() if path not in self.own]

    def discard(self, path: Path) -> None:
        """Remove a spool of which nothing is left to read."""
        for each in (path, path.with_suffix(".log")):
            with contextlib.suppress(OSError):
                each.unlink()
        self._sizes.pop(path, None)


class AdoptedRunner:
    """One attempt whose end has to be found out without its fork server's word."""

    def __init__(self, attempt: Attempt, spools: Spools, servers: Collection[int]) -> None:
        """Find out what can be known now.

        :param servers: pids of the fork servers, which are never ended whatever traces of an attempt they bear.
        """
        self.attempt = attempt
        self._spools = spools
        self._servers = servers
        self.pidfd: int | None = None
        """Becomes readable when the runner exits; None if there is nothing to wait for, and `check` is to be called again."""
        self._recognise()

    def check(self) -> Fate | None:
        """Return how the attempt ended; None while it lives or its fork server may still tell."""
        attempt = self.attempt
        self._spools.read()
        fate = self._spools.fates.get(attempt.id)
        if fate is not None:
            return fate
        if attempt.started is None:
            self._recognise()
        if attempt.started is None:
            return self._check_unrecognised()
        tree = attempt.tree
        if tree.runner is not None and is_running(tree.runner):
            return None
        with contextlib.suppress(ChildProcessError):
            # Ours, because its fork server was killed and this process is its subreaper.
            return collect(tree, keep_processes=attempt.launch.keep_processes, spared=self._servers)
        if self._spools.any_live(self._spools.sources.get(attempt.id)):
            return None
        return self._find_fate_again() or Lost(self._end_rest())

    def close(self) -> None:
        """Stop waiting."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def _recognise(self) -> None:
        self.attempt.started = self.attempt.started or self._spools.started.get(self.attempt.id)
        if self.attempt.started is None and is_locked(self.attempt.launch.log_path):
            self._recognise_by_traces()
        runner = self.attempt.tree.runner
        if self.pidfd is None and runner is not None:
            self.pidfd = open_pidfd(runner)

    def _recognise_by_traces(self) -> None:
        # Its fork server was killed between starting it and writing that down.
        runner = find_runner(self.attempt.tree, spared=self._servers)
        if runner is not None:
            self.attempt.started = Started(
                attempt_id=self.attempt.id,
                pid=runner.pid,
                start_ticks=runner.start_ticks,
                boot_id=runner.boot_id,
                # A fork may have waited for its launch; nobody has written down for how long.
                waited_s=age_s(runner.start_ticks) if self.attempt.launch.workload_path is not None else 0.0,
                at=time.time(),
                log_path=self.attempt.launch.log_path,
            )

    def _check_unrecognised(self) -> Fate | None:
        path = self.attempt.launch.log_path
        if is_locked(path):
            return None
        try:
            os.close(create_attempt_log(path))
        except FileExistsError:
            if self._spools.any_live(None):
                return None
            return self._find_fate_again() or Lost(self._end_rest())
        except OSError as error:
            return NotStarted(attempt_id=self.attempt.id, at=time.time(), error=str(error))
        return NeverStarted()

    def _find_fate_again(self) -> Fate | None:
        # The server may have written its last record between our reading and its end.
        self._spools.read()
        return self._spools.fates.get(self.attempt.id)

    def _end_rest(self) -> tuple[str, ...]:
        return () if self.attempt.launch.keep_processes else kill_all(self.attempt.tree, spared=self._servers)
