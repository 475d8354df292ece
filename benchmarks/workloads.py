"""What is measured of each executor, and how it is warmed up before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from benchmarks.executors import PARALLELISM, WARM_PARENT_IDLE_S
from benchmarks.measured_site import MeasuredSite, Sizes
from benchmarks.processes import pss_mib
from benchmarks.runs import Numbers, finish_run, measure_run, run_dag, settle
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Workload:
    """One kind of work."""

    measure: Callable[[MeasuredSite, Sizes], Numbers]
    warm_up: tuple[str, ...]
    """DAGs that are run once before anything of its phase is measured."""
    dags: tuple[str, ...]
    seconds: dict[str, float]
    """About how long it takes in each environment, warming up included; for the estimate at the start."""
    is_heavy: bool = False
    """Whether it belongs to the second phase: what its DAG files import stays in the warm parent."""


def phases_of(workloads: Sequence[str]) -> list[list[str]]:
    """Return the workloads of each phase; one phase is measured before the next is warmed up."""
    phases = [[name for name in workloads if WORKLOADS[name].is_heavy == is_heavy] for is_heavy in (False, True)]
    return [phase for phase in phases if phase]


def dags_to_warm_up(workloads: Sequence[str]) -> list[str]:
    """Return each DAG once, in order."""
    return list(dict.fromkeys(dag_id for name in workloads for dag_id in WORKLOADS[name].warm_up))


def measure_independent(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure many tasks side by side."""
    run = measure_run(site, "independent")
    return {"tasks_per_s": len(run.instances) / run.seconds, "true_cpu_ms": run.cpu_ms_per_task()}


def measure_chain(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure one task after the other."""
    return {"chain_s": run_dag(site, "chain").seconds}


def measure_pandas(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure tasks of a DAG file that imports pandas."""
    return _measure_heavy(site, "pandas")


def measure_provider(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure tasks of a DAG file that imports from a large provider package."""
    return _measure_heavy(site, "provider")


def measure_slow_parse(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure one task after the other of a DAG file that takes seconds to parse."""
    return {"slow_parse_s": run_dag(site, "slow_parse").seconds}


def measure_latency(site: MeasuredSite, sizes: Sizes) -> Numbers:
    """Measure single tasks, each on an idle system."""
    waits_ms = []
    for _ in range(sizes.singles):
        time.sleep(1)
        waits_ms += run_dag(site, "single").waits_ms()
    return {"queued_to_started_ms": waits_ms}


def measure_memory(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure what is held when idle after work, and with all slots taken."""
    processes = site.processes_by_role
    idle = _find_idle(site)
    numbers: Numbers = {"idle_mib": pss_mib(idle), "idle_processes": len(idle)}
    if not site.gate.exists():
        os.mkfifo(site.gate, 0o600)
    run_id = site.api.trigger("standing")
    wait_until(
        processes.count_standing,
        lambda count: count == PARALLELISM,
        timeout_s=120,
        interval_s=0.5,
        what=f"{PARALLELISM} tasks to stand still",
    )
    settle(site, calm_s=2)
    standing_mib = pss_mib(processes.of_executor())
    numbers |= {
        "running_mib": standing_mib / PARALLELISM,
        "added_mib": (standing_mib - numbers["idle_mib"]) / PARALLELISM,
        "held_slots": site.held_slots(),
    }
    # The readers are let in, and read that nobody writes any more.
    os.close(os.open(site.gate, os.O_WRONLY | os.O_NONBLOCK))
    finish_run(site, "standing", run_id, 120)
    return numbers


def measure_loaded_memory(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure what is held when idle after work of heavy DAG files, whose packages were learned and preloaded."""
    return {"idle_loaded_mib": pss_mib(_find_idle(site))}


def measure_retired(site: MeasuredSite, _: Sizes) -> Numbers:
    """Measure what is held when there was no work for a while; only this project's executor gives memory back."""
    if site.measured.worker or site.measured.has_pool:
        return {}
    remaining = wait_until(
        site.processes_by_role.of_executor,
        lambda left: len(left) <= 1,
        timeout_s=WARM_PARENT_IDLE_S + 60,
        interval_s=1,
        what="the warm parent to retire",
    )
    return {"retired_mib": pss_mib(remaining)}


def _find_idle(site: MeasuredSite) -> list[psutil.Process]:
    run_dag(site, "single")
    settle(site, calm_s=3)
    return site.processes_by_role.of_executor()


def _measure_heavy(site: MeasuredSite, name: str) -> Numbers:
    run = measure_run(site, name)
    return {f"{name}_s": run.seconds, f"{name}_cpu_ms": run.cpu_ms_per_task()}


# In this order: what is idle for long comes last.
WORKLOADS = {
    "independent": Workload(
        measure_independent,
        ("single", "independent_warm_up"),
        ("independent",),
        {"air": 20, "local": 25, "celery": 30, "edge": 40},
    ),
    "chain": Workload(measure_chain, ("single",), ("chain",), {"air": 6, "local": 25, "celery": 25, "edge": 45}),
    "latency": Workload(measure_latency, ("single",), (), {"air": 20, "local": 25, "celery": 25, "edge": 30}),
    "memory": Workload(measure_memory, ("single",), ("standing",), {"air": 12, "local": 15, "celery": 15, "edge": 20}),
    "pandas": Workload(
        measure_pandas,
        ("pandas_warm_up",),
        ("pandas",),
        {"air": 35, "local": 20, "celery": 25, "edge": 30},
        is_heavy=True,
    ),
    "provider": Workload(
        measure_provider,
        ("provider_warm_up",),
        ("provider",),
        {"air": 8, "local": 15, "celery": 15, "edge": 20},
        is_heavy=True,
    ),
    "slow_parse": Workload(
        measure_slow_parse,
        ("slow_parse_warm_up",),
        ("slow_parse",),
        {"air": 15, "local": 20, "celery": 20, "edge": 25},
        is_heavy=True,
    ),
    "loaded_memory": Workload(
        measure_loaded_memory,
        ("pandas_warm_up", "provider_warm_up"),
        ("single",),
        {"air": 5, "local": 5, "celery": 5, "edge": 5},
        is_heavy=True,
    ),
    "retired": Workload(measure_retired, ("single",), (), {"air": WARM_PARENT_IDLE_S + 5}, is_heavy=True),
}
