"""The manager's metrics for Prometheus: what each is called, means and counts. Names are static; job and task names are never labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from air_executor.core.states import JobState, TaskStatus
from air_executor.manager.tally import KINDS, Distribution

if TYPE_CHECKING:
    from prometheus_client import Metric

    from air_executor.core.planning import Planner
    from air_executor.manager.board import Board
    from air_executor.manager.launcher import LocalServer
    from air_executor.manager.supervision import Supervision

T = TypeVar("T")
_Numbers = Mapping[Any, float] | float
_Distributions = Mapping[Any, Distribution] | Distribution

PREFIX = "air_executor_"
_DEATHS = "Fork servers that were gone without being told to leave."
_SERVER_STATES = ("loading", "ready", "retiring")


def make_registry(board: Board, planner: Planner, supervision: Supervision) -> CollectorRegistry:
    """Return what a scrape reads; it looks at these objects when it is asked, so ask in the manager's own thread."""
    registry = CollectorRegistry()
    registry.register(_ManagerCollector(board, planner, supervision))
    ProcessCollector(namespace=f"{PREFIX}manager", registry=registry)
    return registry


class _ManagerCollector:
    """Turns what the manager knows into samples."""

    def __init__(self, board: Board, planner: Planner, supervision: Supervision) -> None:
        self._board = board
        self._planner = planner
        self._supervision = supervision

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return all metrics as they are now."""
        yield from self._jobs_and_tasks()
        yield from self._attempts()
        yield from self._servers()
        yield from self._manager()

    def _jobs_and_tasks(self) -> Iterator[Metric]:
        tally, jobs = self._board.tally, [run.job for run in self._board.runs.values()]
        states = Counter(job.state for job in jobs)
        active = {state: states[state] for state in JobState if not state.is_terminal}
        yield _gauge("jobs", "Jobs that are not over.", active, "state")
        yield _counter("jobs_taken", "Jobs that this manager took up, also after a restart.", tally.jobs_taken)
        yield _counter("jobs_ended", "Jobs that ended, by how.", tally.jobs_ended, "state")
        tasks = {status: sum(job.counts[status] for job in jobs) for status in TaskStatus}
        yield _gauge("tasks", "Tasks of the jobs that are not over.", tasks, "status")

    def _attempts(self) -> Iterator[Metric]:
        tally = self._board.tally
        yield _gauge(
            "slots", "Attempts that may run at once, of an executor's jobs and of all others each.", self._planner.slots
        )
        yield _gauge("attempts_running", "Attempts that hold a slot.", len(self._supervision.attempts))
        yield _counter("launches", "Attempts launched, by kind of task.", tally.launches, "kind")
        voided = "Launches of which nothing ran, at no cost to their tasks."
        yield _counter("launches_voided", voided, tally.launches_voided)
        yield _counter("attempts_ended", "Attempts that ended, by how.", tally.attempts_ended, "outcome")
        yield _counter("retries", "Attempts that ended and are followed by another one.", tally.retries)
        adoptions = "Attempts taken over from an earlier manager or from a fork server that is gone."
        yield _counter("adoptions", adoptions, tally.adoptions)
        wait = "From when a task could have run to its first launch: its wait for a slot."
        yield _histogram("queue_wait_seconds", wait, tally.queue_wait)
        yield _histogram("start_delay_seconds", "From a launch to its runner's start.", tally.start_delay, "kind")
        yield _histogram("run_seconds", "From an attempt's start to the record of its end.", tally.run_time, "kind")

    def _servers(self) -> Iterator[Metric]:
        tally, living = self._board.tally, self._supervision.launcher.servers.values()
        states = Counter((server.key.kind, _server_state(server)) for server in living)
        servers = "Fork servers that live; those of kind airflow are warm parents."
        family = GaugeMetricFamily(f"{PREFIX}fork_servers", servers, labels=("kind", "state"))
        for kind in KINDS:
            for state in _SERVER_STATES:
                family.add_metric((kind, state), states[kind, state])
        yield family
        yield _counter("fork_server_starts", "Fork servers started.", tally.server_starts, "kind")
        yield _counter("fork_server_deaths", _DEATHS, tally.server_deaths, "kind")

    def _manager(self) -> Iterator[Metric]:
        tally = self._board.tally
        yield _gauge("manager_info", "The manager's version; always 1.", {_version(): 1}, "version")
        yield _gauge("draining", "1 while the manager starts nothing new.", float(self._planner.is_draining))
        yield _counter("disk_errors", "Times that a file could not be read or written.", tally.disk_errors)
        yield _histogram("journal_flush_seconds", "One write of a job's journal.", tally.journal_flush)
        delay = "One round of the manager's loop without its waiting: for so long it notices nothing else."
        yield _histogram("loop_delay_seconds", delay, tally.step)


def _version() -> str:
    try:
        return version("air-executor")
    except PackageNotFoundError:
        # Run from a checkout that nobody installed.
        return "unknown"


def _server_state(server: LocalServer) -> str:
    if server.is_retiring:
        return "retiring"
    return "ready" if server.is_ready else "loading"


def _counter(name: str, documentation: str, numbers: _Numbers, label: str | None = None) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", documentation, labels=(label,) if label else ())
    for values, number in _by_label(numbers):
        family.add_metric(values, number)
    return family


def _gauge(name: str, documentation: str, numbers: _Numbers, label: str | None = None) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", documentation, labels=(label,) if label else ())
    for values, number in _by_label(numbers):
        family.add_metric(values, number)
    return family


def _histogram(name: str, documentation: str, distributions: _Distributions, label: str | None = None) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}{name}", documentation, labels=(label,) if label else ())
    for values, distribution in _by_label(distributions):
        bounds = (*map(str, distribution.bounds_s), "+Inf")
        buckets = list(zip(bounds, accumulate(distribution.counts), strict=True))
        family.add_metric(values, buckets=buckets, sum_value=distribution.sum_s)
    return family


def _by_label(of_each: Mapping[Any, T] | T) -> Iterator[tuple[tuple[str, ...], T]]:
    """Yield what belongs to each value of the label; to no label if it is no mapping."""
    if not isinstance(of_each, Mapping):
        yield (), of_each
        return
    for value, each in of_each.items():
        yield (value.value if isinstance(value, Enum) else str(value),), each
