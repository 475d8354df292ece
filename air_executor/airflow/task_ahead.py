"""A task's own process, forked ahead: in a runner that waits for its launch, so that Airflow's supervisor need not fork then.

The process plays Airflow's `ActivitySubprocess.start` up to `os.fork`, and waits in there. When the supervisor comes to
that place it passes on what a fork would inherit, its sockets for the task among it, and both go on as after a fork. Whatever
is not as expected, the supervisor forks as ever.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any, NoReturn

from air_executor.airflow import compat
from air_executor.airflow.process_state import list_descriptors
from air_executor.airflow.rehearsal_stage import replaced
from air_executor.airflow.sdk_compat import find
from air_executor.process.children import is_at_work
from air_executor.process.connected_fork import fork_connected
from air_executor.process.late_inheritance import pass_inheritance, receive_inheritance
from air_executor.process.procfs import IS_LINUX
from air_executor.process.subreaper import die_with_parent, outlive_parent

TITLE = "air-executor task: waits"

_MODULE = "airflow.sdk.execution_time.supervisor"
_CLASS = "ActivitySubprocess"
_TAKEN = b"t"
_PATIENCE_S = 3.0
"""How long a supervisor waits for the process to take what it is passed."""
_REHEARSALS = 4


class TaskAhead:
    """The process of the task that a runner is to run. Made in the warm parent, where there is none."""

    def __init__(self, awaken: Callable[[], None]) -> None:
        """Fork nothing yet.

        :param awaken: called in the process when its task comes, as in the runner.
        """
        self._awaken = awaken
        self._is_installed = False
        self._pid = 0
        self._variables: dict[str, str] = {}
        self._endpoint: socket.socket | None = None

    def install(self) -> bool:
        """Have Airflow's supervisor take the process instead of forking one; False where it starts tasks in a way not known here."""
        supervised = find(_MODULE, _CLASS)
        method = vars(supervised).get("start")
        if not IS_LINUX or not isinstance(method, classmethod) or not _rehearse():
            return False
        original = method.__func__

        def start(cls: Any, /, **options: Any) -> Any:
            with self._offered():
                return original(cls, **options)

        functools.update_wrapper(start, original)
        supervised.start = classmethod(start)
        self._is_installed = True
        return True

    def fork(self, runner_fd: int) -> None:
        """Fork it, in a runner that waits.

        :param runner_fd: the descriptor on which the runner waits; nobody else may keep it.
        """
        if not self._is_installed:
            return
        runner_pid = os.getpid()
        self._variables = dict(os.environ)
        try:
            self._pid, self._endpoint = fork_connected(
                lambda endpoint: _become_task(endpoint, runner_fd, runner_pid, self._awaken)
            )
        except OSError:
            # The supervisor tries again, and says why.
            return

    def end(self) -> None:
        """End it, if no task has come for it; idempotent."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()
            # Somebody may have reaped it who waits for any child.
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)

    @contextmanager
    def _offered(self) -> Iterator[None]:
        """Have the next `os.fork` return it, if there is one."""
        if self._endpoint is None:
            yield
            return
        with _ForkPlayed(lambda sockets: self._hand_over(sockets) or os.fork()):
            yield

    def _hand_over(self, sockets: Sequence[socket.socket]) -> int | None:
        """Make it the process of the task; returns its pid, None if it is not able to."""
        assert self._endpoint is not None
        try:
            # With one that somebody has stopped, the task would wait until it is continued.
            if not sockets or not is_at_work(self._pid):
                return None
            self._endpoint.settimeout(_PATIENCE_S)
            pass_inheritance(self._endpoint, self._variables, [each.fileno() for each in sockets])
            if self._endpoint.recv(len(_TAKEN)) != _TAKEN:
                return None
            self._endpoint.close()
            self._endpoint = None
            return self._pid
        except OSError:
            return None
        finally:
            self.end()


class _ForkPlayed:
    """Another answer to the next `os.fork`, made of the sockets that the supervisor has for its task. All is as before by then."""

    def __init__(self, answer: Callable[[Sequence[socket.socket]], int]) -> None:
        self._answer = answer
        self._sockets: list[socket.socket] = []
        self._stack = ExitStack()

    def __enter__(self) -> None:
        supervisor = sys.modules[_MODULE]
        self._make_pair = supervisor.socketpair
        self._stack.enter_context(replaced(supervisor, socketpair=self._note_pair))
        self._stack.enter_context(replaced(os, fork=self._fork))

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _note_pair(self) -> tuple[socket.socket, socket.socket]:
        pair: tuple[socket.socket, socket.socket] = self._make_pair()
        self._sockets += pair
        return pair

    def _fork(self) -> int:
        self._stack.close()
        return self._answer(self._sockets)


def _play_until_fork(answer: Callable[[Sequence[socket.socket]], int]) -> None:
    """Have Airflow start a task, up to the fork. What it is told here is of no use to the process that it forks."""
    with _ForkPlayed(answer):
        find(_MODULE, _CLASS).start(what=SimpleNamespace(id=None), dag_rel_path="", bundle_info=None, client=None)


def _become_task(endpoint: socket.socket, runner_fd: int, runner_pid: int, awaken: Callable[[], None]) -> NoReturn:
    """Be the process of a task that is yet to come; never returns into the code of the runner."""
    try:
        os.close(runner_fd)
        die_with_parent(runner_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        compat.set_title(TITLE)
        compat.seclude_task()

        def wait(sockets: Sequence[socket.socket]) -> int:
            _wait_for_task(endpoint, sockets)
            awaken()
            return 0

        _play_until_fork(wait)
    except BaseException:
        traceback.print_exc()
    finally:
        # Not sys.exit: exit handlers and stack are those of the warm parent.
        os._exit(1)


def _wait_for_task(endpoint: socket.socket, sockets: Sequence[socket.socket]) -> None:
    """Wait for a task, then be the fork of its supervisor: `sockets` become the supervisor's."""
    inheritance = receive_inheritance(endpoint)
    if inheritance is None:
        os._exit(0)
    inheritance.take_effect()
    for each, descriptor in zip(sockets, inheritance.descriptors, strict=True):
        os.dup2(descriptor, each.fileno(), inheritable=False)
        os.close(descriptor)
    outlive_parent()
    # Without this word the supervisor ends this process, and forks.
    endpoint.sendall(_TAKEN)
    endpoint.close()


class _PlayedError(Exception):
    """The supervisor has come to the fork, with sockets as expected."""


def _rehearse() -> bool:
    """Claim that it goes as it is to go; by then it takes each runner less time, too."""
    return all(_is_played() for _ in range(_REHEARSALS))


def _is_played() -> bool:
    open_before = list_descriptors().keys()

    def answer(sockets: Sequence[socket.socket]) -> int:
        descriptors = [each.fileno() for each in sockets]
        is_all = bool(sockets) and list_descriptors().keys() - open_before == set(descriptors)
        _pass_to_itself(descriptors)
        for each in sockets:
            each.close()
        if is_all:
            raise _PlayedError
        raise RuntimeError("the supervisor's sockets for a task are not all known")

    try:
        _play_until_fork(answer)
    except _PlayedError:
        return True
    except Exception:
        # Whatever this Airflow makes of it.
        return False
    return False


def _pass_to_itself(descriptors: Sequence[int]) -> None:
    """Pass on and take what this process has already."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pass_inheritance(ours, dict(os.environ), descriptors)
        inheritance = receive_inheritance(theirs)
    assert inheritance is not None
    inheritance.take_effect()
    for descriptor in (*inheritance.output_fds[:1], *inheritance.descriptors):
        os.close(descriptor)
