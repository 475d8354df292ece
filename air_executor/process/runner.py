"""How a runner is started: `CommandRunner` spawns a program here; `fork_runner` forks the present process.

A runner has a session of its own, default signals, the attempt's log as output, and the log's lock; nothing else
of its fork server.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import time
from collections.abc import Callable, Mapping

import msgspec

from air_executor.process.protocol import MARK_VARIABLE, Launch

LOCK_FD = 100
"""The spare copy of the log descriptor in a command: it keeps the lock when a program redirects its output.

A number that shell scripts do not use themselves; lower where so many descriptors are not allowed.
"""

# Ignored signals stay ignored across exec, and Python ignores some: tasks would miss SIGPIPE.
_RESET_SIGNALS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_REMEMBER_PROGRAMS_S = 1.0
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class Inheritance(msgspec.Struct, frozen=True):
    """What a runner gets from its fork server, and what it must not get."""

    log_fd: int
    server_fds: tuple[int, ...] = ()
    """The fork server's own descriptors, which a forked child closes."""


StartRunner = Callable[[Launch, Inheritance], int]
"""Start a runner, return its pid; raises CannotStartError or another OSError when nothing of the task has run."""


class CannotStartError(OSError):
    """The runner could not be started: correct the command, its PATH, its permissions or its working directory."""


class CommandRunner:
    """Spawns the command of a launch in place: no fork of Python, which costs half as much CPU as fork and exec."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Remember what runners inherit of the environment; the fork server's own by default."""
        self._environment = dict(os.environ if environment is None else environment)
        self._finder = _ProgramFinder()
        # posix_spawn has no working directory: this single-threaded process goes there and comes back.
        self._home_fd = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
        most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._lock_fd = LOCK_FD if most_descriptors == resource.RLIM_INFINITY else min(LOCK_FD, most_descriptors - 1)

    def __call__(self, launch: Launch, inheritance: Inheritance) -> int:
        """Spawn; returns the pid, raises CannotStartError."""
        environment = {**self._environment, **launch.env, MARK_VARIABLE: launch.attempt_id}
        try:
            if launch.cwd is not None:
                _change_directory(launch.cwd)
            return self._spawn(launch, environment, inheritance)
        except ValueError as error:
            raise CannotStartError(
                f"{launch.command!r}: its name, arguments, directory or environment hold what no process can get: {error}"
            ) from error
        finally:
            if launch.cwd is not None:
                os.fchdir(self._home_fd)

    def _spawn(self, launch: Launch, environment: dict[str, str], inheritance: Inheritance) -> int:
        program = self._finder.find(launch.command, environment.get("PATH", _DEFAULT_PATH))
        log_fd = inheritance.log_fd
        try:
            return os.posix_spawn(
                program,
                (launch.command, *launch.args),
                environment,
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log_fd, 1),
                    (os.POSIX_SPAWN_DUP2, log_fd, 2),
                    (os.POSIX_SPAWN_DUP2, log_fd, self._lock_fd),
                ),
                setsid=True,
                setsigmask=(),
                setsigdef=_RESET_SIGNALS,
            )
        except OSError as error:
            raise CannotStartError(_explain(error, launch.command, program)) from error


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise CannotStartError(f"the working directory {path} cannot be used: {error.strerror}") from error


class _ProgramFinder:
    """Remembers for a moment where programs are: a burst of tasks names few of them, and PATH can be long."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}
        self._forget_at = 0.0

    def find(self, command: str, search_path: str) -> str:
        now = time.monotonic()
        if now >= self._forget_at:
            self._found.clear()
            self._forget_at = now + _REMEMBER_PROGRAMS_S
        program = self._found.get((command, search_path))
        if program is None:
            program = find_program(command, search_path)
            # What was found relative to the working directory is elsewhere for the next task.
            if os.path.isabs(program):
                self._found[(command, search_path)] = program
        return program


def find_program(command: str, search_path: str) -> str:
    """Find a program as exec would with that PATH, from the present working directory. Raises CannotStartError."""
    if os.sep in command:
        return command
    blocked = None
    for directory in search_path.split(os.pathsep):
        candidate = os.path.join(directory or ".", command)
        if os.access(candidate, os.X_OK):
            if stat.S_ISREG(os.stat(candidate).st_mode):
                return candidate
        elif blocked is None and os.path.isfile(candidate):
            blocked = candidate
    if blocked is not None:
        raise CannotStartError(f"{blocked} is not executable: chmod +x it, or name an interpreter as the command")
    raise CannotStartError(f"command not found: {command or '(empty)'} (PATH is {search_path})")


def _explain(error: OSError, command: str, program: str) -> str:
    if error.errno == errno.ENOENT:
        if os.path.exists(program):
            return f"{program} names an interpreter in its first line that does not exist"
        return f"command not found: {command}"
    if error.errno == errno.EACCES:
        return f"{program} may not be executed: not an executable file, or on a file system mounted noexec"
    if error.errno == errno.ENOEXEC:
        return f"{program} is neither a binary for this machine nor a script with a #! line"
    if error.errno == errno.E2BIG:
        return f"{command}: arguments and environment together are too long for this kernel"
    return f"{command} could not be started: {error.strerror}"
