"""What a warm parent loads before it forks: modules, the TLS context, backends, listeners; and what it closes."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from air_executor.airflow import huge_pages, immortal, settled_heap, task_logging
from air_executor.airflow.process_state import count_threads, list_thread_names

if TYPE_CHECKING:
    from air_executor.airflow.learned_preload import LearnedPreload
    from air_executor.airflow.options import Options
    from air_executor.airflow.runner import WorkloadRunner

MODULES = (
    # Supervisor and task process.
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.callback_supervisor",
    "airflow.sdk.execution_time.connection_test_supervisor",
    "airflow.sdk.execution_time.task_mapping",
    "airflow.sdk.execution_time.timeout",
    "airflow.sdk._shared.logging.factory",
    "airflow.sdk._shared.logging.remote",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.serde",
    # The parser of DAG files, imported by each task process when it needs it.
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.importers",
    "airflow.serialization.serialized_objects",
    "airflow.models.dag",
    "airflow.timetables.interval",
    "airflow.timetables.simple",
    "airflow.timetables.trigger",
    "airflow.version",
    # What DAG files import.
    "airflow.sdk",
    "airflow.sdk.bases.branch",
    "airflow.sdk.bases.decorator",
    "airflow.sdk.bases.hook",
    "airflow.sdk.bases.notifier",
    "airflow.sdk.bases.sensor",
    "airflow.sdk.bases.skipmixin",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.definitions.mappedoperator",
    "airflow.sdk.definitions.taskgroup",
    "airflow.sdk.definitions.xcom_arg",
    "airflow.providers.common.compat.sdk",
    "airflow.providers.common.compat.standard.operators",
    "airflow.providers.standard.decorators.bash",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.branch_python",
    "airflow.providers.standard.decorators.sensor",
    "airflow.providers.standard.decorators.short_circuit",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.latest_only",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.date_time",
    "airflow.providers.standard.sensors.python",
    "airflow.providers.standard.sensors.time_delta",
    "airflow.providers.standard.triggers.temporal",
    "airflow.triggers.base",
    # What the standard library and others import only when first used.
    "asyncio",
    "encodings.idna",
    "getpass",
    "html",
    "jinja2.ext",
    "jinja2.nativetypes",
    "setproctitle",
    "stringprep",
)
"""Found by listing what task processes of the standard operators imported on 3.1, 3.2 and 3.3. Not all exist in all."""

_OPEN_TELEMETRY = "Otel"
"""How its threads are named. Airflow has it start them where its traces or metrics are on, and it starts them anew in each fork."""


def read_own_options() -> Options:
    """Read the options from Airflow's configuration.

    :raises ConfigurationError: one has a value that it cannot have.
    """
    from air_executor.airflow.options import read_options

    return read_options(_read_setting, os.environ)


def load(options: Options, learned: LearnedPreload | None = None) -> WorkloadRunner:
    """Load everything and return what runs workloads.

    A step that fails is reported on stderr and left out: the runners then do it themselves.

    :param learned: loads what tasks were seen importing.
    :raises ImportError: Airflow itself cannot be imported.
    :raises SystemExit: what was learned cannot be loaded after all.
    """
    from air_executor.airflow.runner import WorkloadRunner
    from air_executor.airflow.supervision import Supervision

    supervision = Supervision(prompt=options.prompt_exit)
    for name, step in _list_steps(options, learned):
        _try(name, step)
    _try("watch supervisors", supervision.install)
    run_workload = WorkloadRunner(supervision)
    _try("have supervisors take a task's process", run_workload.task_ahead.install)
    _try("spare loggers", task_logging.install)
    _try("close the database", _dispose_orm)
    _report_threads()
    if learned is not None:
        _try("have tasks report what they import", learned.finish)
    if options.immortal_objects:
        _try("make objects immortal", _make_objects_immortal)
    if options.preload:
        _try("fill holes in the heap", settled_heap.fill_holes)
    return run_workload


def _read_setting(section: str, name: str) -> str | None:
    from air_executor.airflow import compat

    return compat.read_setting(None, section, name)


def _list_steps(options: Options, learned: LearnedPreload | None) -> list[tuple[str, Callable[[], object]]]:
    from air_executor.airflow import compat

    steps: list[tuple[str, Callable[[], object]]] = []
    if options.preload:
        steps += [
            ("import modules", _import_modules),
            ("build the TLS context", _build_tls_context),
            ("load secrets backends", _load_secrets_backends),
            ("load coordinators", compat.load_coordinators),
            ("read DAG bundles", _read_bundles),
            ("share adapters", _share_adapters),
        ]
    if options.preload_listeners:
        steps.append(("load listeners", compat.load_listeners))
    if learned is not None:
        steps.append(("load what tasks import", lambda: learned.load(options, _read_setting)))
    if options.preload:
        steps.append(("rehearse logging", _rehearse_logging))
    # Late: what libraries say while they are imported is nobody's news.
    steps.append(("set up logging", set_up_logging))
    if options.preload:
        steps += [
            ("rehearse parsing", _rehearse_parsing),
            ("rehearse requests", _rehearse_requests),
        ]
        if options.preload_listeners:
            # A task asks for plugins: where they are not to be loaded here, none is rehearsed.
            steps.append(("rehearse a task", _rehearse_task))
    return steps


def _try(name: str, step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        # Plugins and backends may raise anything; none of it stops a warm parent.
        print(f"warm parent: could not {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _import_modules() -> None:
    # Deprecation warnings between Airflow's own modules are not for the people who read the manager's log.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in MODULES:
            try:
                importlib.import_module(module)
            except ImportError:
                # Not in this version, or its provider is not installed.
                continue


def set_up_logging() -> None:
    """Have what is logged in this process and its forks go to standard error, until a task has its supervisor."""
    from airflow.sdk.log import configure_logging, reset_logging

    reset_logging()  # type: ignore[no-untyped-call] # Airflow's
    # It does nothing for what it was called with before, whatever it was called with since.
    getattr(configure_logging, "cache_clear", lambda: None)()
    # Standard error is the attempt's log in a runner, and the manager's log here.
    configure_logging(json_output=True, output=sys.stderr.buffer)


def _build_tls_context() -> None:
    """Fill the cache from which each HTTP client takes its TLS context: 40 ms of CPU that no runner spends again."""
    from airflow.sdk.api.client import Client

    Client(base_url="http://127.0.0.1:1/", token="").close()


def _load_secrets_backends() -> None:
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    ensure_secrets_backend_loaded()


def _read_bundles() -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager()  # type: ignore[no-untyped-call] # Airflow's


def _share_adapters() -> None:
    from air_executor.airflow import adapters

    adapters.share()


def _rehearse_parsing() -> None:
    from air_executor.airflow import rehearsal

    rehearsal.rehearse_parsing()


def _rehearse_requests() -> None:
    from air_executor.airflow import rehearsal

    rehearsal.rehearse_requests()


def _rehearse_logging() -> None:
    from air_executor.airflow import rehearsal

    rehearsal.rehearse_logging()


def _rehearse_task() -> None:
    from air_executor.airflow import rehearsal_task

    rehearsal_task.rehearse_task()


def _dispose_orm() -> None:
    # Importing Airflow's core makes a database engine; a connection of it must not be shared with forks.
    from airflow.settings import dispose_orm

    dispose_orm(do_log=False)


def _make_objects_immortal() -> None:
    # Last of all, so that nothing is left out.
    if immortal.why_not() is None:
        immortal.make_all_immortal()
        huge_pages.collapse()


def _report_threads() -> None:
    """Say which threads exist: a fork copies only one, and what the others held stays locked in the child."""
    names = list_thread_names()
    others = [name for name in names if not name.startswith(_OPEN_TELEMETRY)]
    # Its exporter has some of its own, which cannot be told from those of other libraries.
    native = count_threads() - 1 - len(names) if others == names else 0
    if others or native > 0:
        print(
            f"warm parent: there are other threads ({', '.join(others) or 'of libraries'}): forks may hang. Find the "
            "plugin that starts them, or set [air_executor] preload_listeners = False",
            file=sys.stderr,
            flush=True,
        )
