"""Parses a DAG file in a template, and says what the result depends on, or why it cannot be shared."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from air_executor.airflow import immortal, provenance, settled_heap
from air_executor.airflow.importing import find_thread_objection
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


class DagFile(msgspec.Struct, frozen=True):
    """A DAG file, as workloads name it."""

    bundle: str
    version: str | None
    path: str
    """Relative to the bundle."""


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
        self._began_ns = time.time_ns() - _CLOCK_STEP_NS
        self._modules_before = frozenset(sys.modules)
        self._memory_before = measure_memory_bytes()
        self._seconds = 0.0

    def run(self) -> Facts:
        self._check_bundle()
        before = ProcessState.take()
        remembered = RememberedBag(self._output.say_again)
        handlers = [(number, signal.getsignal(number)) for number in _HANDLERS]
        gc.enable()
        try:
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
        self._check(before, remembered.bag)
        facts = self._facts(lambda path: provenance.stamp_unless_changed(path, self._began_ns))
        remembered.install()
        _share()
        return facts

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
        self._witness.paths.add(os.path.abspath(os.path.join(bundle.path, self._dag_file.path)))

    @contextmanager
    def _watch(self) -> Iterator[None]:
        with self._output.keep():
            root = (*logging.root.handlers, logging.root.level)
            began = time.perf_counter()
            with self._witness:
                yield
            self._seconds = time.perf_counter() - began
            if (*logging.root.handlers, logging.root.level) != root:
                self._witness.rule_out("it changes the root logger")

    def _check(self, before: ProcessState, bag: Any) -> None:
        objection = next(iter(self._witness.objections), None)
        if objection is None and bag.import_errors:
            objection = "its parse fails; the logs of its tasks tell why"
        if objection is None and not bag.dags:
            objection = "it holds no DAG"
        if objection is None:
            found = before.find_objection(_LEFT_BY_PARSING | _LEFT_BY_LOGGING) or find_thread_objection()
            objection = found.reason if found is not None else None
        limit = self._memory_limit_bytes
        if objection is None and limit is not None and self._memory_bytes() > limit:
            objection = f"it takes {self._memory_bytes() >> 20} MiB, more than dag_template_memory_limit"
        if objection is None and len(self._list_paths()) > _MOST_STAMPS:
            objection = f"it reads more than {_MOST_STAMPS} files"
        if objection is not None:
            raise self._unsuitable(objection)

    def _unsuitable(self, reason: str) -> UnsuitableError:
        # As things lie now: it is tried again when they have changed.
        return UnsuitableError(reason, self._facts(take_stamp))

    def _memory_bytes(self) -> int:
        return max(measure_memory_bytes() - self._memory_before, 0)

    def _facts(self, take: Callable[[str], Stamp]) -> Facts:
        facts = ParseFacts(
            stamps=tuple(take(path) for path in sorted(self._list_paths())[: _MOST_STAMPS + 1]),
            variables=tuple(sorted(self._witness.variables)),
            seconds=round(self._seconds, 4),
            memory_bytes=self._memory_bytes(),
        )
        found: Facts = msgspec.to_builtins(facts)
        return found

    def _list_paths(self) -> set[str]:
        packages = InstalledPackages()
        origins = {find_origin(name, sys.modules.get(name)) for name in set(sys.modules) - self._modules_before}
        found = self._witness.paths | {os.path.abspath(origin) for origin in origins if origin is not None}
        return {path for path in found if not packages.holds(path)}


def _share() -> None:
    """Have forks copy no pages of what was parsed, as far as that can be."""
    gc.collect()
    if immortal.why_not() is None:
        immortal.make_new_immortal()
    settled_heap.fill_holes()
    gc.freeze()
