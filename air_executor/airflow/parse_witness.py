"""Watches the parse of a DAG file in a template: what it depends on, and what rules out to share its result.

Python tells of most of it by audit events. What a C library reads or connects to by itself is not seen; the age that a
template may reach bounds how long that can matter.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import source_from_cache
from types import ModuleType, TracebackType
from typing import Any

from air_executor.airflow import sdk_compat
from air_executor.airflow.process_state import HARMLESS_DEVICES
from air_executor.store.stamps import Stamp, take_stamp

_CONTEXT_PREFIX = "_AIRFLOW_PARSING_CONTEXT_"
_KERNEL_PATHS = ("/proc/", "/sys/")
_UNWATCHED_DEVICES = frozenset({*HARMLESS_DEVICES, "/dev/stdout", "/dev/stderr"})
"""What is written to the last two is kept like all that is printed."""
_NUMPY_RANDOM = "numpy.random"
_SEEDING = {"random": ("seed", "setstate"), _NUMPY_RANDOM: ("seed", "set_state")}
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
_TELLING = frozenset({"open", "import"}) | _LISTING | _CONNECTING | _STARTING | _CHANGING
_ASKING = ("_get_variable", "_set_variable", "_delete_variable", "_get_connection", "_async_get_connection")
_CONTEXT_MODULE = "airflow.sdk.execution_time.context"
_RUNNER_MODULE = "airflow.sdk.execution_time.task_runner"

_witness: ParseWitness | None = None
_is_hooked = False


class ParseWitness:
    """Watches from `__enter__` to `__exit__`; one at a time. What threads do that were there before is not told of."""

    def __init__(self, is_installed: Callable[[str], bool] = lambda _: False) -> None:
        """Watch nothing yet.

        :param is_installed: tells of which paths nothing need be known.
        """
        self.stamps: dict[str, Stamp] = {}
        """Files that were opened or looked for, directories that were listed, by absolute path: as they were before that."""
        self.variables: set[str] = set()
        """Environment variables that were asked for."""
        self.objections: list[str] = []
        """Why the result cannot be shared."""
        self.is_installed = is_installed
        self._strangers: frozenset[int | None] = frozenset()
        """Other threads, by the kernel's ids: Python gives its own to the next thread. OpenTelemetry's, where Airflow's traces go to it,
        send what they have in the middle of a parse."""
        self._sought: dict[str, dict[str, Stamp]] = {}
        """Where modules were looked for."""
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> ParseWitness:
        global _witness
        _hook()
        self._strangers = frozenset(each.native_id for each in threading.enumerate()) - {threading.get_native_id()}
        self._watch_environment()
        self._watch_questions()
        self._watch_searches()
        for name in _SEEDING:
            if name in sys.modules:
                self.watch_seeds(sys.modules[name])
        _witness = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _witness
        _witness = None
        while self._undo:
            self._undo.pop()()
        # Of a module that was found, its file was opened.
        for name in self._sought.keys() - sys.modules.keys():
            for path, stamp in self._sought[name].items():
                self.stamps.setdefault(path, stamp)

    def add(self, path: str) -> None:
        """Note what the result depends on, as it is now, before it is read; what was noted before stays."""
        absolute = os.path.abspath(path)
        if absolute not in self.stamps and not self.is_installed(absolute):
            self.stamps[absolute] = take_stamp(absolute)

    def rule_out(self, reason: str) -> None:
        """Note why the result cannot be shared."""
        if reason not in self.objections:
            self.objections.append(reason)

    def _is_stranger(self) -> bool:
        """Claim that the thread that asks was there before."""
        return threading.get_native_id() in self._strangers

    # Called by the audit hook.

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event."""
        # First, since to ask who raised an event raises another.
        if event not in _TELLING or self._is_stranger():
            return
        if event == "import":
            self._see_library(arguments[1])
        elif _is_importing():
            # It lists directories to find modules in, and writes bytecode: neither is the file's doing.
            if event == "open":
                self._see_module(*arguments)
        elif event == "open":
            self._see_open(*arguments)
        elif event in _LISTING:
            self._see_listing(arguments[0] if arguments[0] is not None else ".")
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
        if text.startswith(_KERNEL_PATHS) or text in _UNWATCHED_DEVICES:
            return
        if isinstance(flags, int) and flags & _WRITING:
            self.rule_out(f"it writes {text}")
        else:
            self.add(text)

    def _see_module(self, path: Any, _: object, flags: Any) -> None:
        """Note what the importer reads: modules, under whatever name, and what packages read by their loaders."""
        if isinstance(path, int) or (isinstance(flags, int) and flags & _WRITING):
            return
        text = os.fsdecode(path)
        if text.endswith(".pyc"):
            try:
                text = source_from_cache(text)
            except ValueError:
                # It lies where sources lie, and there is none.
                pass
        self.add(text)

    def _see_library(self, path: Any) -> None:
        # Only modules that are shared libraries have one here: the kernel opens them.
        if isinstance(path, str):
            self.add(path)

    def _see_listing(self, path: Any) -> None:
        # A descriptor is of a file that was opened before.
        if not isinstance(path, int):
            self.add(os.fsdecode(path))

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
        if self._is_stranger():
            return
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

    # Modules that are not there, and seeds of random numbers.

    def _watch_searches(self) -> None:
        finder: Any = _Finder(self)
        sys.meta_path.insert(0, finder)
        self._undo.append(lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None)

    def see_search(self, name: str, directories: Iterable[str]) -> None:
        """Note where a module is looked for, lest one appear there that the parse has done without."""
        if name in self._sought or self._is_stranger():
            return
        found: dict[str, Stamp] = {}
        for directory in directories:
            place = os.path.abspath(os.path.join(directory, name.rpartition(".")[2]))
            if not self.is_installed(place):
                for path in (f"{place}.py", os.path.join(place, "__init__.py")):
                    found[path] = take_stamp(path)
        self._sought[name] = found

    def watch_seeds(self, module: ModuleType) -> None:
        """Rule out that random numbers are made repeatable: at each fork generators get a new seed."""
        for name in _SEEDING[module.__name__]:
            original = getattr(module, name, None)
            if original is None:
                continue
            setattr(module, name, self._note_call(f"{module.__name__}.{name}", original))
            self._undo.append(functools.partial(setattr, module, name, original))

    def _note_call(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*arguments: Any, **options: Any) -> Any:
            self.rule_out(f"it seeds random numbers ({name})")
            return original(*arguments, **options)

        return call


class _Finder:
    """Is asked for modules before all others, and finds none."""

    def __init__(self, witness: ParseWitness) -> None:
        self._witness = witness

    def find_spec(self, name: str, path: Iterable[Any] | None = None, target: object = None) -> ModuleSpec | None:
        del target
        # Whatever else a file has put there, the importer passes over as well.
        directories = (each for each in (sys.path if path is None else path) if isinstance(each, str))
        self._witness.see_search(name, directories)
        return self._find_numpy(path) if name == _NUMPY_RANDOM else None

    def _find_numpy(self, path: Any) -> ModuleSpec | None:
        """Have its functions watched as soon as it is loaded: `numpy` loads it in the moment in which they are called."""
        spec = PathFinder.find_spec(_NUMPY_RANDOM, path)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_watched(module: ModuleType) -> None:
            load(module)
            # A task may be the one who loads it, long after the parse has looked for it.
            if _witness is self._witness:
                _witness.watch_seeds(module)

        spec.loader.exec_module = load_watched  # type: ignore[method-assign] # of this loader only
        return spec


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
