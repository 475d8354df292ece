"""Parses a DAG file in a template, and says what the result depends on, or why it cannot be shared."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from air_executor.airflow import compat, immortal, provenance, sdk_compat, settled_heap
from air_executor.airflow.importing import ForkError, Threads, find_thread_objection, look_at_threads
from air_executor.airflow.installed import InstalledPackages, find_origin
from air_executor.airflow.parse_output import ParseOutput
from air_executor.airflow.parse_witness import ParseWitness
from air_executor.airflow.process_state import ProcessState, measure_memory_bytes
from air_executor.airflow.remembered_bag import RememberedBag, UnknownAirflowError
from air_executor.process.template import Facts, UnsuitableError
from air_executor.store.stamps import Stamp, take_stamp

_MOST_STAMPS = 2000
_CLOCK_STEP_NS = 20_000_000
"""The times of files lag behind the clock by up to a tick of the kernel."""
_LEFT_BY_PARSING = frozenset({"the handler of SIGSEGV", "the handler of SIGALRM", "sys.path"})
_LEFT_BY_LOGGING = frozenset({"handlers of the root logger", "the level of the root logger", "sys.excepthook"})
"""What changes in the process whatever is parsed."""
_HANDLERS = (signal.SIGSEGV, signal.SIGALRM)
_ABSENT = object()
_DATABASE_VARIABLES = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN")


class DagFile(msgspec.Struct, frozen=True):
    """A DAG file, as workloads name it."""

    bundle: str
    version: str | None
    path: str
    """Relative to the bundle."""
    cwd: str | None = None
    """The working directory of its tasks; None: that of the warm parent."""


class ParseFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a parse has found out."""

    stamps: tuple[Stamp, ...] = ()
    """Of all that it has read."""
    variables: tuple[str, ...] = ()
    """Environment variables that it asked for."""
    seconds: float = 0.0
    memory_bytes: int = 0


def parse_for_tasks(dag_file: DagFile, memory_limit_bytes: int | None, set_up_logging: Callable[[], None]) -> Facts:
    """Parse a DAG file in this process, whose forks then take it over.

    :raises UnsuitableError: its tasks have to parse it themselves.
    """
    return _Parse(dag_file, memory_limit_bytes, set_up_logging).run()


class _Parse:
    def __init__(self, dag_file: DagFile, memory_limit_bytes: int | None, set_up_logging: Callable[[], None]) -> None:
        self._dag_file = dag_file
        self._memory_limit_bytes = memory_limit_bytes
        self._set_up_logging = set_up_logging
        self._witness = ParseWitness()
        self._output = ParseOutput()
        self._loggers: dict[str, _LoggerState] = {}
        """Those that the parse has made, as it left them."""
        self._began_ns = time.time_ns() - _CLOCK_STEP_NS
        self._modules_before = frozenset(sys.modules)
        self._memory_before = measure_memory_bytes()
        self._seconds = 0.0

    def run(self) -> Facts:
        self._enter_directory()
        # Only now: the working directory is one of those whose code may change.
        volatile = provenance.list_volatile(functools.partial(compat.read_setting, None))
        self._witness = ParseWitness(InstalledPackages(volatile).holds)
        self._check_bundle()
        try:
            threads = look_at_threads()
        except ForkError as error:
            # It says nothing of the file.
            raise UnsuitableError(str(error), {}) from None
        before = ProcessState.take()
        remembered = RememberedBag(self._output.say_again)
        handlers = [(number, signal.getsignal(number)) for number in _HANDLERS]
        gc.enable()
        try:
            with _database_blocked():
                remembered.make(self._dag_file.bundle, self._dag_file.version, self._dag_file.path, self._watch)
        except UnknownAirflowError as error:
            raise self._unsuitable(str(error)) from None
        except (Exception, SystemExit) as error:
            raise self._unsuitable(f"it cannot be parsed ahead of tasks ({type(error).__name__})") from None
        finally:
            gc.disable()
            self._set_up_logging()
            for number, handler in handlers:
                signal.signal(number, handler)
        self._check(before, threads, remembered.bag)
        facts = self._facts(lambda path, first: provenance.stamp_unless_changed(path, self._began_ns, first))
        remembered.install()
        _share()
        return facts

    def _enter_directory(self) -> None:
        cwd = self._dag_file.cwd
        if cwd is None:
            return
        try:
            os.chdir(cwd)
        except OSError as error:
            self._witness.add(cwd)
            raise self._unsuitable(f"its working directory {cwd} cannot be entered: {error.strerror}") from None

    def _check_bundle(self) -> None:
        from airflow.dag_processing.bundles.local import LocalDagBundle
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        manager: Any = DagBundlesManager()  # type: ignore[no-untyped-call] # Airflow's
        try:
            bundle = manager.get_bundle(name=self._dag_file.bundle, version=self._dag_file.version)
        except Exception as error:
            raise self._unsuitable(f"there is no such bundle ({type(error).__name__})") from None
        if self._dag_file.version is None and not isinstance(bundle, LocalDagBundle):
            raise self._unsuitable("its bundle has no version, and is fetched anew by each task")
        self._witness.add(os.path.join(bundle.path, self._dag_file.path))

    @contextmanager
    def _watch(self) -> Iterator[None]:
        with self._output.keep():
            loggers, config = _list_loggers(), _read_structlog()
            began = time.perf_counter()
            with self._witness:
                yield
            self._seconds = time.perf_counter() - began
            now = _list_loggers()
            self._loggers = {name: state for name, state in now.items() if name not in loggers}
            # What is set up for a task is set up before its parse, but here once more after it.
            self._rule_out_loggers(name for name, state in loggers.items() if now.get(name) != state)
            if _read_structlog() != config:
                self._witness.rule_out("it configures structlog")

    def _rule_out_loggers(self, names: Iterable[str]) -> None:
        for name in names:
            self._witness.rule_out(f"it configures {f'the logger {name}' if name else 'the root logger'}")

    def _check(self, before: ProcessState, threads: Threads, bag: Any) -> None:
        # Those that lie below loggers which Airflow configures were reset.
        now = _list_loggers()
        self._rule_out_loggers(name for name, state in self._loggers.items() if now.get(name) != state)
        objection = next(iter(self._witness.objections), None)
        if objection is None and bag.import_errors:
            objection = "its parse fails; the logs of its tasks tell why"
        if objection is None and not bag.dags:
            objection = "it holds no DAG"
        if objection is None:
            found = before.find_objection(_LEFT_BY_PARSING | _LEFT_BY_LOGGING) or find_thread_objection(threads)
            objection = found.reason if found is not None else None
        limit = self._memory_limit_bytes
        if objection is None and limit is not None and self._memory_bytes() > limit:
            objection = f"it takes {self._memory_bytes() >> 20} MiB, more than dag_template_memory_limit"
        if objection is None and len(self._list_stamps()) > _MOST_STAMPS:
            objection = f"it reads more than {_MOST_STAMPS} files"
        if objection is not None:
            raise self._unsuitable(objection)

    def _unsuitable(self, reason: str) -> UnsuitableError:
        # As things lay when they were read: it is tried again when they have changed.
        return UnsuitableError(reason, self._facts(lambda path, first: first or take_stamp(path)))

    def _memory_bytes(self) -> int:
        return max(measure_memory_bytes() - self._memory_before, 0)

    def _facts(self, take: Callable[[str, Stamp | None], Stamp]) -> Facts:
        facts = ParseFacts(
            stamps=tuple(take(path, first) for path, first in sorted(self._list_stamps().items())[: _MOST_STAMPS + 1]),
            variables=tuple(sorted(self._witness.variables)),
            seconds=round(self._seconds, 4),
            memory_bytes=self._memory_bytes(),
        )
        found: Facts = msgspec.to_builtins(facts)
        return found

    def _list_stamps(self) -> dict[str, Stamp | None]:
        """Return what the result depends on, and how that was before it was read, where it is known."""
        # Modules that were loaded in a way of which the witness saw nothing.
        origins = (find_origin(name, sys.modules.get(name)) for name in set(sys.modules) - self._modules_before)
        others = {os.path.abspath(origin) for origin in origins if origin is not None}
        unseen = {path: None for path in others if not self._witness.is_installed(path)}
        return {**unseen, **self._witness.stamps}


_LoggerState = tuple[object, ...]


def _list_loggers() -> dict[str, _LoggerState]:
    """Return how each logger is set, by name; that of the root logger is empty."""
    known = {"": logging.root, **logging.root.manager.loggerDict}
    return {name: _read_logger(logger) for name, logger in known.items() if isinstance(logger, logging.Logger)}


def _read_logger(logger: logging.Logger) -> _LoggerState:
    handlers = tuple((each, each.level, each.formatter, *each.filters) for each in logger.handlers)
    return logger.level, logger.propagate, logger.disabled, handlers, tuple(logger.filters)


def _read_structlog() -> dict[str, Any]:
    import structlog

    config = structlog.get_config()
    return {**config, "processors": list(config["processors"])}


@contextmanager
def _database_blocked() -> Iterator[None]:
    """Take the database's address away meanwhile, as Airflow does in a task before it parses.

    Not for good: forks of this process are the supervisors of tasks, from which Airflow does not take it.
    """
    block = sdk_compat.find("airflow.sdk.execution_time.supervisor", "block_orm_access")
    if block is None:
        yield
        return
    conf: Any = sdk_compat.find("airflow.configuration", "conf")
    settings = vars(sys.modules["airflow.settings"]) if "airflow.settings" in sys.modules else {}
    options = conf._sections.get("database", {})
    kept = [(each, dict(each)) for each in (settings, options)]
    variables = {name: os.environ.get(name) for name in _DATABASE_VARIABLES}
    block()
    changes = [(owner, before, _find_changes(before, owner)) for owner, before in kept]
    blocked = {name: os.environ.get(name) for name in variables}
    try:
        yield
    finally:
        for owner, before, names in changes:
            for name in names:
                owner.pop(name, None)
                if name in before:
                    owner[name] = before[name]
        for name, value in variables.items():
            # What the file itself has set is found afterwards.
            if os.environ.get(name) == blocked[name]:
                _set_variable(name, value)


def _find_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in before.keys() | now.keys() if before.get(name, _ABSENT) is not now.get(name, _ABSENT)]


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _share() -> None:
    """Have forks copy no pages of what was parsed, as far as that can be."""
    gc.collect()
    if immortal.why_not() is None:
        immortal.make_new_immortal()
    settled_heap.fill_holes()
    gc.freeze()
