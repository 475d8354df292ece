"""CPU time and memory of an Airflow's processes, told apart by what they are for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds of one process, and of its children that it has reaped."""

    own_s: float
    reaped_s: float


def executor_processes(site: AirflowSite) -> list[psutil.Process]:
    """Return the processes that exist because of the executor: workers, or manager, fork servers and warm parents."""
    roots = [site.manager_pid()] if site.executor == AIR_EXECUTOR else []
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        if pid is not None:
            with contextlib.suppress(psutil.Error):
                manager = psutil.Process(pid)
                found |= {process.pid: process for process in (manager, *manager.children(recursive=True))}
    with contextlib.suppress(psutil.Error):
        found |= {process.pid: process for process in psutil.Process(site.pid("scheduler")).children(recursive=True)}
    return list(found.values())


def pss_mib(processes: Iterable[psutil.Process]) -> float:
    """Return the proportional set size of processes together: shared pages count once, however many share them."""
    total_kib = 0
    for process in processes:
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/smaps_rollup") as file:
            total_kib += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total_kib / 1024


def cpu_times(processes: Iterable[psutil.Process]) -> dict[int, CpuTimes]:
    """Return the CPU times of processes, by pid."""
    found = {}
    for process in processes:
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            user, system, children_user, children_system = (
                int(fields[place]) / _TICKS_PER_S for place in range(11, 15)
            )
            found[process.pid] = CpuTimes(user + system, children_user + children_system)
    return found


def cpu_between(before: dict[int, CpuTimes], after: dict[int, CpuTimes]) -> CpuTimes:
    """Return what was used between two readings; a process that is new in the second counts whole."""
    nothing = CpuTimes(0, 0)
    return CpuTimes(
        sum(times.own_s - before.get(pid, nothing).own_s for pid, times in after.items()),
        sum(times.reaped_s - before.get(pid, nothing).reaped_s for pid, times in after.items()),
    )
