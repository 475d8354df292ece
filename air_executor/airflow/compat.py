"""Every difference between the Airflow versions that Air-Executor runs with (3.1 to 3.3, prepared for 3.4).

Nothing else in this package asks for a version. What is looked up here may be private to Airflow: each lookup says
what happens where it is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from airflow.configuration import conf
from airflow.executors import workloads
from airflow.executors.base_executor import BaseExecutor
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.utils.state import TaskInstanceState

from air_executor.airflow.sdk_compat import find, find_metrics

_METRICS_MODULE = "airflow._shared.observability.metrics.stats"
_METRICS_SWITCHES = ("statsd_on", "statsd_datadog_enabled", "otel_on")
_metrics: Any = find_metrics(_METRICS_MODULE)

TASK_SUCCEEDED: Any = TaskInstanceState.SUCCESS
TASK_FAILED: Any = TaskInstanceState.FAILED
TASK_QUEUED: Any = TaskInstanceState.QUEUED
TASK_SCHEDULED: Any = TaskInstanceState.SCHEDULED

KIND_TASK = "task"
KIND_CALLBACK = "callback"
KIND_CONNECTION_TEST = "connection-test"

_QUEUE_ATTRIBUTES = ("queued_tasks", "queued_callbacks", "queued_connection_tests")
_RUNNABLE_WORKLOAD_TYPES = ("EXECUTE_TASK", "EXECUTE_CALLBACK", "TEST_CONNECTION")


def get_kind(workload: Any) -> str:
    """Return which of the kinds above a workload is.

    :raises TypeError: for a workload that no released Airflow hands to executors.
    """
    kinds = {
        "ExecuteTask": KIND_TASK,
        "ExecuteCallback": KIND_CALLBACK,
        "TestConnection": KIND_CONNECTION_TEST,
    }
    try:
        return kinds[type(workload).__name__]
    except KeyError:
        raise TypeError(f"Air-Executor does not know how to run a workload of type {type(workload).__name__}") from None


def get_key(workload: Any) -> Any:
    """Return the key under which the executor's queues and `running` hold a workload."""
    key = getattr(workload, "key", None)
    if key is not None:
        return key
    # 3.1 and 3.2: only the parts have keys; that of a callback is its id as text.
    return workload.ti.key if hasattr(workload, "ti") else workload.callback.key


def get_queue(workload: Any) -> str | None:
    """Return the queue of a workload; None for those that have none, as callbacks."""
    return getattr(getattr(workload, "ti", None), "queue", None)


def get_states(workload: Any) -> tuple[Any, Any, Any]:
    """Return the states that say of a workload that it runs, has succeeded, has failed; the first may be None."""
    if hasattr(workload, "success_state"):
        return workload.running_state, workload.success_state, workload.failure_state
    kind = get_kind(workload)
    if kind == KIND_TASK:
        return None, TASK_SUCCEEDED, TASK_FAILED
    callback_state = find("airflow.utils.state", "CallbackState")
    return callback_state.RUNNING, callback_state.SUCCESS, callback_state.FAILED


def is_task_key(key: Any) -> bool:
    """Tell whether a key is that of a task instance."""
    return isinstance(key, TaskInstanceKey)


def pop_queued(executor: BaseExecutor, key: Any) -> None:
    """Take a workload out of whichever queue of the executor holds it; do nothing if none does."""
    queues = getattr(executor, "executor_queues", None)
    if queues is not None:  # 3.4: one dictionary of queues by type; the old names only warn
        for queue in queues.values():
            queue.pop(key, None)
        return
    for name in _QUEUE_ATTRIBUTES:
        getattr(executor, name, {}).pop(key, None)


def order_by_priority(queued: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Sort queued tasks, highest priority weight first. 3.2 sorts the other way round (apache/airflow#70942)."""
    return sorted(queued, key=lambda item: item[1].ti.priority_weight, reverse=True)


def list_workload_types() -> frozenset[Any] | None:
    """Return what 3.4 asks for as `supported_workload_types`; None where Airflow knows no such thing."""
    workload_type = find("airflow.executors.workloads.types", "WorkloadType") or find(
        "airflow.executors.workloads", "WorkloadType"
    )
    if workload_type is None:
        return None
    return frozenset(member for member in workload_type if member.name in _RUNNABLE_WORKLOAD_TYPES)


def make_workload_decoder() -> Any:
    """Return the adapter that reads workload.json; building one takes milliseconds, so build it once."""
    from pydantic import TypeAdapter

    return TypeAdapter(workloads.All)


def read_setting(executor_conf: Any, section: str, name: str) -> str | None:
    """Return the text of a setting, that of the executor's team first; None where it is not set."""
    for source in (executor_conf, conf):
        if source is None:
            continue
        text = source.get(section, name, fallback=None)
        if text is not None:
            return str(text)
    return None


def has_row_locks() -> bool:
    """Tell whether the metadata database keeps a row that the scheduler has read from changing before it is written.

    SQLite does not, and others not where it is turned off. There a task instance that fails and gets a new id for its next try in
    that moment ends the scheduler with a StaleDataError, if an event has it write the row.
    """
    if (read_setting(None, "database", "sql_alchemy_conn") or "").startswith("sqlite"):
        return False
    try:
        return bool(conf.getboolean("scheduler", "use_row_level_locking", fallback=True))
    except Exception:
        # A value that is no boolean: Airflow tells of it where it reads it.
        return False


def find_execution_api_url(executor_conf: Any = None) -> str:
    """Return the URL of the API that task processes talk to, as Airflow's own executors derive it."""
    base_url = read_setting(executor_conf, "api", "base_url") or "/"
    if base_url.startswith("/"):
        base_url = f"http://localhost:8080{base_url}"
    return read_setting(executor_conf, "core", "execution_api_server_url") or f"{base_url.rstrip('/')}/execution/"


def make_team_conf(team_name: str | None) -> Any:
    """Return a view of the configuration as a team sees it, or None without a team."""
    if not team_name:
        return None
    from airflow.executors.base_executor import ExecutorConf

    return ExecutorConf(team_name)


def run_workload(workload: Any, *, server: str, title: str) -> int:
    """Run a workload to its end in this process, which must be the main thread; return the exit code.

    Airflow's supervisor forks the task's own process, so it is a grandchild of the warm parent.
    """
    run = getattr(BaseExecutor, "run_workload", None)
    if run is not None:
        return int(run(workload, server=server, proctitle=title))
    set_title(title)
    kind = get_kind(workload)
    if kind == KIND_TASK:
        supervise = find("airflow.sdk.execution_time.supervisor", "supervise")
        sentry = {"sentry_integration": workload.sentry_integration} if hasattr(workload, "sentry_integration") else {}
        return int(
            supervise(
                ti=workload.ti,
                bundle_info=workload.bundle_info,
                dag_rel_path=workload.dag_rel_path,
                token=workload.token,
                server=server,
                log_path=workload.log_path,
                **sentry,
            )
        )
    return _run_callback(workload)


def _run_callback(workload: Any) -> int:
    # 3.2 has no supervisor for callbacks: LocalExecutor calls this function in its worker, we in the runner.
    import structlog

    execute = find("airflow.executors.workloads.callback", "execute_callback_workload")
    has_succeeded, error = execute(workload.callback, structlog.get_logger("callback"))
    if not has_succeeded:
        raise RuntimeError(error or "the callback failed")
    return 0


def seclude_task() -> None:
    """Do in the process of a task what its supervisor has done to itself before it forks it: keep its memory and its secrets apart."""
    # Not in 3.1 and 3.2.
    keep_memory_private = find("airflow.sdk.execution_time.supervisor", "_make_process_nondumpable")
    if keep_memory_private is not None:
        keep_memory_private()
    find("airflow.sdk._shared.secrets_masker", "reset_secrets_masker")()


def set_title(title: str) -> None:
    """Have this process shown under a title, where that can be done."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(title)


def is_superseded(error: BaseException) -> bool:
    """Tell whether an error says that the task instance runs elsewhere, was changed, or is gone.

    The execution API answers 409, 404 or 410 then. It is no failure of this attempt, and to report it as one would
    fail what somebody else is running.
    """
    if type(error).__name__ == "TaskAlreadyRunningError":
        return True
    return _get_status_code(error) == 409 or is_gone(error)


def is_gone(error: BaseException) -> bool:
    """Tell whether an error says that there is no such task instance any more: it was cleared or deleted.

    A proxy, or a server behind a wrong URL, answers 404 as well, but does not say what was not found.
    """
    if _get_status_code(error) == 404:
        detail = getattr(error, "detail", None)
        # 3.1 has it as the server sent it.
        detail = detail.get("detail", detail) if isinstance(detail, dict) else None
        return isinstance(detail, dict) and detail.get("reason") == "not_found"
    return _get_status_code(error) == 410


def is_refused_token(error: BaseException) -> bool:
    """Tell whether an error says that the execution API did not accept the workload's token."""
    return _get_status_code(error) in (401, 403)


def _get_status_code(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def metrics_are_on() -> bool:
    """Claim that Airflow is told to report its metrics somewhere."""
    try:
        return any(conf.getboolean("metrics", switch, fallback=False) for switch in _METRICS_SWITCHES)
    except Exception:
        # A value that is no boolean: Airflow tells of it where it reads it.
        return False


def set_gauge(name: str, number: float) -> None:
    """Report that something is so large now."""
    _report("gauge", name, number)


def count(name: str, number: int, tags: dict[str, str] | None = None) -> None:
    """Report that something happened so often since the last report."""
    _report("incr", name, number, tags=tags or {})


def record_time(name: str, seconds: float, tags: dict[str, str] | None = None) -> None:
    """Report how long something took; StatsD and its kin want milliseconds."""
    _report("timing", name, seconds * 1000, tags=tags or {})


def _report(verb: str, *arguments: Any, **options: Any) -> None:
    """Report a metric; metrics never stop the work that they measure."""
    try:
        getattr(_metrics, verb)(*arguments, **options)
    except Exception:
        # A metrics backend may raise anything, and a later Airflow may have none of that name.
        return


def find_import_limit_s() -> float:
    """Return for how long a DAG file may be imported, in seconds; 0 means for ever. A policy may say otherwise for a file."""
    try:
        return conf.getfloat("core", "dagbag_import_timeout", fallback=30.0)
    except Exception:
        # A value that is no number: Airflow tells of it where it reads it.
        return 30.0


def find_unrest_event() -> tuple[Any, Any] | None:
    """Return key and value of an event that has the scheduler go round at once, and does nothing else; None without.

    The scheduler sleeps for an idle second in each loop that queued nothing and whose events are all dealt with; that
    ends were among them counts for nothing (3.1 to 3.3). What follows them would wait. An event that is nobody's stays.
    """
    runner = getattr(sys.modules.get("airflow.jobs.scheduler_job_runner"), "SchedulerJobRunner", None)
    if runner is None:
        # No scheduler, as in `dag.test()`.
        return None
    # 3.3 has a kind of event that it leaves alone without a word; earlier ones log that they have received one.
    make_key = find("airflow.models.connection_test", "ConnectionTestKey")
    key = (
        make_key(id="air-executor") if make_key is not None else TaskInstanceKey("air-executor", "ended", "any", 0, -1)
    )
    event = (key, (None, None))
    try:
        left = runner.process_executor_events(_OneEvent(event), None, None, None)
    except Exception:
        # It asks for more than was expected: nobody knows what it would do with the event.
        return None
    return event if left == 1 else None


class _OneEvent:
    """Stands for an executor with one event."""

    def __init__(self, event: tuple[Any, Any]) -> None:
        self._event = event

    def get_event_buffer(self) -> dict[Any, Any]:
        """Return the event."""
        return dict([self._event])


def find_supervised_classes() -> Sequence[type]:
    """Return the classes of Airflow that watch a forked process in a selector loop."""
    found = (
        find("airflow.sdk.execution_time.supervisor", "ActivitySubprocess"),
        find("airflow.sdk.execution_time.callback_supervisor", "CallbackSubprocess"),
    )
    return [supervised for supervised in found if supervised is not None]


def load_listeners() -> None:
    """Load plugins and register their listeners, as each task process would."""
    get_manager = find("airflow.sdk.listener", "get_listener_manager") or find(
        "airflow.listeners.listener", "get_listener_manager"
    )
    get_manager()


def load_coordinators() -> None:
    """Make the object that runs tasks of the default queue; there is none before 3.3."""
    get_manager = find("airflow.sdk.execution_time.coordinator", "get_coordinator_manager")
    if get_manager is not None:
        get_manager().for_queue("default")
