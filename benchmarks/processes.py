"""CPU time and memory of a site's processes, told apart by what they are for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.executors import Executor
from tests.support.airflow_site import AirflowSite

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SAMPLE_INTERVAL_S = 0.02
_TEMPLATE_TITLE = b"air-executor DAG template"


@dataclass(frozen=True)
class CpuReading:
    """CPU seconds since each process began, summed up by role."""

    scheduler_s: float
    api_server_s: float
    triggerer_s: float
    engine_s: float
    """Manager, fork servers and templates, or worker and broker: themselves."""
    pool_s: float
    """Supervisors that stay: themselves."""
    reaped_s: float
    """All that engine and pool have reaped: supervisors that end with their task, and tasks."""


class SiteProcesses:
    """The processes of one site with one executor."""

    def __init__(self, site: AirflowSite, executor: Executor, service_pids: Iterable[int]) -> None:
        """Prepare; `service_pids` are processes beside the site's that the executor needs."""
        self._site = site
        self._executor = executor
        self._service_pids = tuple(service_pids)
        self._manager_pid: int | None = None

    def of_executor(self) -> list[psutil.Process]:
        """Return the processes that exist because of the executor: all below the scheduler, manager or worker, broker."""
        found = {process.pid: process for process in self._below(self._site.pid("scheduler"))}
        for pid in self._engine_roots():
            found |= {process.pid: process for process in (*_living(pid), *self._below(pid))}
        return list(found.values())

    def count_standing(self) -> int:
        """Return how many tasks stand still; what ends while it is looked at does not."""
        count = 0
        for process in self.of_executor():
            with contextlib.suppress(psutil.Error):
                count += process.name() == "cat"
        return count

    def read_cpu(self) -> CpuReading:
        """Read the CPU times of now."""
        pool = self._pool_pids()
        engine = self.engine_pids()
        own_s, reaped_s = _cpu_s(self._site.pid("scheduler"))
        return CpuReading(
            # A scheduler that has workers below it reaps them at its end; another, helpers of its own.
            scheduler_s=own_s + (reaped_s if self._executor.worker else 0),
            api_server_s=self._tree_s("api-server"),
            triggerer_s=self._tree_s("triggerer"),
            engine_s=sum(_cpu_s(pid)[0] for pid in engine),
            pool_s=sum(_cpu_s(pid)[0] for pid in pool),
            reaped_s=sum(_cpu_s(pid)[1] for pid in (*engine, *pool)),
        )

    def engine_pids(self) -> list[int]:
        """Return manager, fork servers and their templates, or worker and broker."""
        roots = self._engine_roots()
        if self._executor.worker:
            return roots
        servers = [child for pid in roots for child in _children(pid)]
        return [*roots, *servers, *(child for pid in servers for child in _children(pid) if _is_template(child))]

    def _engine_roots(self) -> list[int]:
        if self._executor.worker:
            return [self._site.pid("worker"), *self._service_pids]
        if self._manager_pid is None:
            self._manager_pid = self._site.manager_pid()
        return [] if self._manager_pid is None else [self._manager_pid]

    def _pool_pids(self) -> list[int]:
        if not self._executor.has_pool:
            return []
        return _children(self._site.pid("worker" if self._executor.worker else "scheduler"))

    def _tree_s(self, component: str) -> float:
        try:
            pid = self._site.pid(component)
        except KeyError:
            return 0.0
        return sum(sum(_cpu_s(each)) for each in (pid, *(process.pid for process in self._below(pid))))

    @staticmethod
    def _below(pid: int) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).children(recursive=True)
        return []


class SupervisorSampler:
    """Watches supervisors that end with their task, and keeps the CPU time that each had when it was last seen.

    Their parent learns only the sum of supervisor and task; this tells the two apart, to within one interval.
    """

    def __init__(self, processes: SiteProcesses, is_needed: bool) -> None:
        """Prepare; one that is not needed looks at nothing."""
        self._processes = processes
        self._is_needed = is_needed
        self._last_s: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def used_s(self) -> float | None:
        """Return the CPU seconds of all supervisors seen; None if the kernel does not tell."""
        return sum(self._last_s.values()) if self._last_s else None

    def __enter__(self) -> SupervisorSampler:
        if self._is_needed:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._is_needed:
            self._thread.join(10)

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_INTERVAL_S):
            for pid in self._supervisors():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    # Nanoseconds on the CPU; /proc/<pid>/stat counts ticks of 10 ms.
                    self._last_s[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9

    def _supervisors(self) -> Iterator[int]:
        engine = self._processes.engine_pids()
        for pid in engine:
            yield from (child for child in _children(pid) if child not in engine)


def pss_mib(processes: Iterable[psutil.Process]) -> float:
    """Return the proportional set size of processes together: shared pages count once, however many share them."""
    total_kib = 0
    for process in processes:
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/smaps_rollup") as file:
            total_kib += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total_kib / 1024


def split_cpu(before: CpuReading, after: CpuReading, supervisors_s: float | None, has_pool: bool) -> dict[str, float]:
    """Return the CPU seconds between two readings by role.

    :param supervisors_s: what supervisors that ended with their task used; None puts all of it on the task.
    """
    runs_s = after.reaped_s - before.reaped_s
    supervisor_s = after.pool_s - before.pool_s if has_pool else min(supervisors_s or 0.0, runs_s)
    return {
        "scheduler": after.scheduler_s - before.scheduler_s,
        "API server": after.api_server_s - before.api_server_s,
        "triggerer": after.triggerer_s - before.triggerer_s,
        "manager or worker": after.engine_s - before.engine_s,
        "supervisor": supervisor_s,
        "task": runs_s if has_pool else runs_s - supervisor_s,
    }


def _children(pid: int) -> list[int]:
    # One small file of the kernel's; psutil would look at every process of the machine.
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def _is_template(pid: int) -> bool:
    # It reaps runners itself: left out, what these have used would show only when it ends.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_TEMPLATE_TITLE)
    return False


def _living(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [psutil.Process(pid)]
    return []


def _cpu_s(pid: int) -> tuple[float, float]:
    """Return CPU seconds of one process, and of its children that it has reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system, children_user, children_system = (int(fields[place]) / _TICKS_PER_S for place in range(11, 15))
    except (OSError, ValueError, IndexError):
        return 0.0, 0.0
    return user + system, children_user + children_system
