"""From a `Launch` to a living runner: claim by log, cgroup, start, record; or a sentence why not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from air_executor.process.attempt_log import create_attempt_log
from air_executor.process.cgroup import AttemptCgroup, CgroupParent
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.identity import age_s, boot_clock_s, identify_child
from air_executor.process.protocol import Launch, NotStarted, Started
from air_executor.process.runner import Inheritance, StartRunner
from air_executor.process.tree import AttemptTree, tree_of


class Attempt:
    """An attempt whose runner was started here."""

    __slots__ = ("cgroup", "keep_processes", "started", "tree")

    def __init__(self, started: Started, cgroup: AttemptCgroup | None, keep_processes: bool) -> None:
        self.started = started
        self.tree: AttemptTree = tree_of(started)
        self.cgroup = cgroup
        self.keep_processes = keep_processes


class Birthplace(Protocol):
    """Where runners are born."""

    @property
    def forks_ahead(self) -> bool:
        """Claim that a runner may be older than its launch."""

    def start(self, launch: Launch, inheritance: Inheritance) -> int:
        """Start a runner, return its pid, that of a child of this process.

        :raises BirthplaceLostError: nothing was started, and nothing will be.
        :raises OSError: as `StartRunner`.
        """

    def move_on(self) -> AttemptCgroup | None:
        """Return the cgroup in which that runner was born, with nothing inside that is not of the attempt; None without."""


class BirthplaceLostError(OSError):
    """A birthplace is gone: start the runner elsewhere."""


class Here:
    """This very process."""

    def __init__(self, start_runner: StartRunner, cgroups: CgroupParent | None) -> None:
        self.start = start_runner
        self.forks = start_runner if isinstance(start_runner, ForkRunner) else None
        """What starts runners, if that is by forks."""
        self._cgroups = cgroups

    @property
    def forks_ahead(self) -> bool:
        """Claim that a runner may be older than its launch."""
        return self.forks is not None

    def move_on(self) -> AttemptCgroup | None:
        """Enter the cgroup of the next attempt, return that of the present one."""
        return self._cgroups.move_on() if self._cgroups is not None else None


class AttemptStarter:
    """Starts attempts for a fork server, which tells what runners must not inherit."""

    def __init__(self, here: Birthplace, list_server_fds: Callable[[], tuple[int, ...]]) -> None:
        self._here = here
        self._list_server_fds = list_server_fds

    def start(self, launch: Launch, birthplace: Birthplace) -> Attempt | NotStarted:
        """Start one attempt, here or elsewhere. Never raises for what a launch may hold: the answer says what is wrong with it."""
        try:
            log_fd = create_attempt_log(launch.log_path)
        except FileExistsError:
            return _refuse(launch, f"{launch.log_path} exists: somebody else has claimed this attempt", True)
        except (OSError, ValueError) as error:
            return _refuse(launch, f"the log {launch.log_path} cannot be created: {_reason(error)}")
        try:
            return self._start_claimed(launch, log_fd, birthplace)
        except (OSError, ValueError) as error:
            refusal = _refuse(launch, _reason(error))
            _write_quietly(log_fd, f"air-executor: not started: {refusal.error}\n")
            return refusal
        finally:
            # From here on only the runner and what it starts hold the lock.
            os.close(log_fd)

    def _start_claimed(self, launch: Launch, log_fd: int, birthplace: Birthplace) -> Attempt:
        asked_s = boot_clock_s()
        inheritance = Inheritance(log_fd, self._list_server_fds())
        try:
            pid = birthplace.start(launch, inheritance)
        except BirthplaceLostError:
            birthplace, asked_s = self._here, boot_clock_s()
            pid = birthplace.start(launch, inheritance)
        identity = identify_child(pid, None if birthplace.forks_ahead else asked_s)
        at = time.time()
        # Before anybody hears of the attempt: killing its cgroup would end the birthplace while that is inside.
        cgroup = birthplace.move_on()
        if cgroup is not None and launch.memory_limit_bytes is not None:
            # Nor before that: out of memory, the kernel could choose this process instead of the runner.
            cgroup.limit_memory(launch.memory_limit_bytes)
        started = Started(
            attempt_id=launch.attempt_id,
            pid=pid,
            start_ticks=identity.start_ticks,
            waited_s=round(age_s(identity.start_ticks, asked_s), 3) if birthplace.forks_ahead else 0.0,
            boot_id=identity.boot_id,
            at=at,
            log_path=launch.log_path,
            cgroup=cgroup.path if cgroup is not None else None,
        )
        return Attempt(started, cgroup, launch.keep_processes)


def _refuse(launch: Launch, error: str, already_claimed: bool = False) -> NotStarted:
    return NotStarted(attempt_id=launch.attempt_id, at=time.time(), error=error, already_claimed=already_claimed)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _write_quietly(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    except OSError:
        # The disk is full: the report says it all.
        pass
