"""Runners that are forks of the present process. The next one may wait, forked ahead: its launch is spared the fork."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from air_executor.process.children import has_ended, is_at_work
from air_executor.process.connected_fork import fork_connected
from air_executor.process.launch_passing import receive_launch, send_launch
from air_executor.process.protocol import MARK_VARIABLE, Launch
from air_executor.process.runner import Inheritance

NEVER_BEGUN = 125
"""Exit code of a runner whose parent died before anybody knew of it; nothing of its task has run."""

_BEGIN = b"b"
_PATIENCE_S = 1.0
"""How long a runner may take to read what exceeds its socket's buffer."""
_DISMISSAL_S = 2.0
_STEP_S = 0.002

GetReady = Callable[[int], Callable[[], None]]
"""Called in a runner that was forked ahead, with the descriptor that it then waits on, which nothing else may keep open.

Returns what is to be called before the runner ends, with or without a launch.
"""


def _do_nothing() -> None:
    pass


class ForkRunner:
    """Runs `target(launch)` in a fork of this process, whose other threads must bear that; its result is the exit code."""

    def __init__(self, target: Callable[[Launch], int], get_ready: GetReady = lambda _: _do_nothing) -> None:
        """Fork nothing yet."""
        self._target = target
        self._get_ready = get_ready
        self._waiting: HeldRunner | None = None

    def __call__(self, launch: Launch, inheritance: Inheritance) -> int:
        """Start a runner; returns its pid. Raises OSError when nothing of the task has run."""
        runner = self.hold(launch, inheritance)
        runner.begin()
        return runner.pid

    def hold(self, launch: Launch, inheritance: Inheritance) -> HeldRunner:
        """Give a launch to the runner that waits, or to a new one: it settles, and begins when it is told to.

        :raises OSError: no runner could be forked.
        """
        runner, self._waiting = self._waiting, None
        if runner is not None:
            try:
                runner.give(launch, inheritance.log_fd)
                return runner
            except OSError:
                # It was killed, or stopped, while it waited.
                runner.end()
        runner = HeldRunner(self._target, (*inheritance.server_fds, inheritance.log_fd))
        try:
            runner.give(launch, inheritance.log_fd)
        except OSError as error:
            runner.end()
            raise OSError(f"the runner ended, or was stopped, before it had its launch: {error}") from error
        return runner

    def fork_ahead(self, server_fds: tuple[int, ...]) -> int | None:
        """Have a runner wait for the next launch; returns its pid, None where one waits or cannot be forked."""
        if self._waiting is not None:
            return None
        try:
            self._waiting = HeldRunner(self._target, server_fds, self._get_ready)
        except OSError:
            # The next launch tries again, and says why.
            return None
        return self._waiting.pid

    def dismiss(self) -> None:
        """Have nobody wait, and wait for that. Whoever reaps the children of this process reaps that one."""
        runner, self._waiting = self._waiting, None
        if runner is not None:
            runner.dismiss()


class HeldRunner:
    """A fork that runs nothing before it was given a launch and told to begin; if its parent dies before, it ends."""

    def __init__(
        self,
        target: Callable[[Launch], int],
        server_fds: tuple[int, ...],
        get_ready: GetReady = lambda _: _do_nothing,
    ) -> None:
        """Fork.

        :param server_fds: what it must not keep of the present process.
        :raises OSError: it could not be forked.
        """
        # What waits in a buffer would be written twice.
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid, self._endpoint = fork_connected(lambda theirs: _run(target, theirs, server_fds, get_ready))

    def give(self, launch: Launch, log_fd: int) -> None:
        """Hand over the launch and the attempt's log. Raises OSError if it is gone, or does not read."""
        send_launch(self._endpoint, launch, log_fd, _PATIENCE_S)

    def begin(self) -> None:
        """Let it run the task; if it was killed since, its exit tells."""
        try:
            # One that is stopped has room for this, and is not waited for.
            self._endpoint.setblocking(False)
            self._endpoint.send(_BEGIN)
        except BlockingIOError:
            # The launch fills the socket, and is being read.
            self._endpoint.settimeout(_PATIENCE_S)
            try:
                self._endpoint.send(_BEGIN)
            except OSError:
                self.end()
        except OSError:
            pass
        self._endpoint.close()

    def end(self) -> None:
        """End it at once: it was not told to begin, and never will be."""
        self._endpoint.close()
        if not has_ended(self.pid):
            # Closing alone would not reach one that is stopped.
            os.kill(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Have it end, what it has got ready with it, and wait for that."""
        self._endpoint.close()
        _wait_while(lambda: is_at_work(self.pid))
        self.end()
        _wait_while(lambda: not has_ended(self.pid))


def _wait_while(is_so: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + _DISMISSAL_S
    while is_so() and time.monotonic() < gives_up_at:
        time.sleep(_STEP_S)


def _run(
    target: Callable[[Launch], int],
    endpoint: socket.socket,
    server_fds: tuple[int, ...],
    get_ready: GetReady,
) -> NoReturn:
    """Become a runner; never returns into the fork server's code, whatever happens."""
    code, tidy_up = 1, _do_nothing
    try:
        _detach(server_fds)
        tidy_up = get_ready(endpoint.fileno())
        code = _run_when_told(target, endpoint)
    except SystemExit as request:
        code = _exit_code(request)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            tidy_up()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # Not sys.exit: the fork server's exit handlers and stack are none of the runner's.
            os._exit(code & 0xFF)


def _run_when_told(target: Callable[[Launch], int], endpoint: socket.socket) -> int:
    given = receive_launch(endpoint)
    if given is None:
        return 0
    launch, log_fd, word = given
    _settle(launch, log_fd)
    may_begin = (word or endpoint.recv(len(_BEGIN))) == _BEGIN
    endpoint.close()
    if not may_begin:
        print("air-executor: the parent of this runner ended before it could begin", file=sys.stderr)
        return NEVER_BEGUN
    return int(target(launch))


def _detach(server_fds: tuple[int, ...]) -> None:
    # First: there may be no more descriptors.
    for descriptor in server_fds:
        os.close(descriptor)
    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        # The log is read while the task runs.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    null_fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_fd, 0)
    os.close(null_fd)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _settle(launch: Launch, log_fd: int) -> None:
    # `log_fd` itself stays open as the spare copy. It is not inheritable: programs that the target starts
    # hold the lock by their output.
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.environ.update(launch.env)
    os.environ[MARK_VARIABLE] = launch.attempt_id
    if launch.cwd is not None:
        os.chdir(launch.cwd)


def _exit_code(request: SystemExit) -> int:
    if request.code is None:
        return 0
    if isinstance(request.code, int):
        return request.code
    print(request.code, file=sys.stderr)
    return 1
