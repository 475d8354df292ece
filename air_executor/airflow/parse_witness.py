"""Watches the parse of a DAG file in a template: what it depends on, and what rules out to share its result.

Python tells of most of it by audit events. What a C library reads or connects to by itself is not seen; the age that a
template may reach bounds how long that can matter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from air_executor.airflow import sdk_compat

_CONTEXT_PREFIX = "_AIRFLOW_PARSING_CONTEXT_"
_KERNEL_PATHS = ("/proc/", "/sys/", "/dev/")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CONNECTING = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "sqlite3.connect"}
)
_STARTING = frozenset(
    {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.exec", "pty.spawn"}
)
_CHANGING = frozenset(
    {
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.utime",
    }
)
_LISTING = frozenset({"os.listdir", "os.scandir"})
_TELLING = frozenset({"open"}) | _LISTING | _CONNECTING | _STARTING | _CHANGING
_ASKING = ("_get_variable", "_set_variable", "_delete_variable", "_get_connection", "_async_get_connection")
_CONTEXT_MODULE = "airflow.sdk.execution_time.context"
_RUNNER_MODULE = "airflow.sdk.execution_time.task_runner"

_witness: ParseWitness | None = None
_is_hooked = False


class ParseWitness:
    """Watches from `__enter__` to `__exit__`; one at a time, in a process that has no other thread."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.paths: set[str] = set()
        """Files that were opened or looked for, directories that were listed; absolute."""
        self.variables: set[str] = set()
        """Environment variables that were asked for."""
        self.objections: list[str] = []
        """Why the result cannot be shared."""
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> ParseWitness:
        global _witness
        _hook()
        self._watch_environment()
        self._watch_questions()
        _witness = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _witness
        _witness = None
        while self._undo:
            self._undo.pop()()

    def rule_out(self, reason: str) -> None:
        """Note why the result cannot be shared."""
        if reason not in self.objections:
            self.objections.append(reason)

    # Called by the audit hook.

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event."""
        # First, since to ask who raised an event raises another. The importer reads modules, which are looked at by
        # themselves, and writes bytecode beside them.
        if event not in _TELLING or _is_importing():
            return
        if event == "open":
            self._see_open(*arguments)
        elif event in _LISTING:
            self._add(arguments[0] if arguments[0] is not None else ".")
        elif event in _CONNECTING:
            self.rule_out("it opens a connection")
        elif event in _STARTING:
            self.rule_out("it starts a process")
        elif event in _CHANGING:
            self.rule_out(f"it changes files ({event})")

    def _see_open(self, path: Any, _: object, flags: Any) -> None:
        if isinstance(path, int):
            return
        text = os.fsdecode(path)
        if text.startswith(_KERNEL_PATHS):
            return
        if isinstance(flags, int) and flags & _WRITING:
            self.rule_out(f"it writes {text}")
        else:
            self._add(text)

    def _add(self, path: Any) -> None:
        # A descriptor is of a file that was opened before.
        if not isinstance(path, int):
            self.paths.add(os.path.abspath(os.fsdecode(path)))

    # Questions that no audit event tells of.

    def _watch_environment(self) -> None:
        kind: Any = type(os.environ)
        original = kind.__getitem__

        def get(environ: Any, name: Any) -> Any:
            if isinstance(name, str):
                self._see_variable(name)
            return original(environ, name)

        kind.__getitem__ = get
        self._undo.append(lambda: setattr(kind, "__getitem__", original))

    def _see_variable(self, name: str) -> None:
        if name.startswith(_CONTEXT_PREFIX):
            self.rule_out("it asks which task it is parsed for (get_parsing_context)")
        self.variables.add(name)

    def _watch_questions(self) -> None:
        module = sys.modules.get(_CONTEXT_MODULE)
        for name in _ASKING:
            original = sdk_compat.find(_CONTEXT_MODULE, name)
            if original is not None:
                setattr(module, name, _Question(self, name.strip("_").rpartition("_")[2]))
                self._undo.append(lambda name=name, original=original: setattr(module, name, original))  # type: ignore[misc] # each its own
        runner: Any = sys.modules[_RUNNER_MODULE]
        # As in a task, where it is the connection to its supervisor, which everything else that is asked goes through.
        runner.SUPERVISOR_COMMS = _Nobody(self)
        self._undo.append(lambda: delattr(runner, "SUPERVISOR_COMMS"))


class QuestionError(Exception):
    """A DAG file asks Airflow for something while it is parsed ahead of tasks; its tasks parse it themselves."""


class _Question:
    """Stands for a function that asks Airflow for something."""

    def __init__(self, witness: ParseWitness, what: str) -> None:
        self._witness = witness
        self._what = what

    def __call__(self, *_: object, **__: object) -> Any:
        self._witness.rule_out(f"it asks Airflow for a {self._what}")
        raise QuestionError(f"no {self._what} can be asked for here")


class _Nobody:
    """Stands for the connection of a task to its supervisor."""

    def __init__(self, witness: ParseWitness) -> None:
        self._witness = witness

    def send(self, msg: object = None, **_: object) -> Any:
        """Note who asks for what."""
        self._witness.rule_out(f"it asks Airflow ({type(msg).__name__})")
        raise QuestionError("nobody answers here")

    asend = send


def _is_importing() -> bool:
    # Above this, `see` and the hook: whoever raised the event.
    caller = sys._getframe(3)
    return caller.f_code.co_filename.startswith("<frozen importlib")


def _hook() -> None:
    """Have Python tell of what happens; a hook stays for ever, and is told nothing more when no witness is there."""
    global _is_hooked
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _witness is not None:
        _witness.see(event, arguments)
