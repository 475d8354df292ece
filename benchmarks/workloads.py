"""What is measured of each executor, and how it is warmed up before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """DAGs that are run once before anything is measured."""
    dags: tuple[str, ...]
    seconds: dict[str, float]
    """About how long it takes under each executor, warming up included; for the estimate at the start."""


def warm_up(site: MeasuredSite, workloads: Sequence[str]) -> None:
    """Run the DAGs that warm up, and wait until the executor has come to rest."""
    # In turn: an API server that was just started answers its first requests slowly.
    for dag_id in dict.fromkeys(dag_id for name in workloads for dag_id in WORKLOADS[name].warm_up):
        run_dag(site, dag_id)
    settle(site, calm_s=3)
    if site.measured.learns:
        wait_until(
            lambda: site.air_executor("preload", "status", "--json").stdout,
            lambda answer: all(each["is_settled"] for each in json.loads(answer)),
            timeout_s=150,
            interval_s=2,
            what="learned preload to settle",
        )
        # The warm parent that learning ended with has forked nothing yet; or it has retired meanwhile.
        run_dag(site, "single")
        settle(site, calm_s=3)


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
    run_dag(site, "single")
    settle(site, calm_s=3)
    idle = processes.of_executor()
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


def _measure_heavy(site: MeasuredSite, name: str) -> Numbers:
    run = measure_run(site, name)
    return {f"{name}_s": run.seconds, f"{name}_cpu_ms": run.cpu_ms_per_task()}


# In this order: memory is looked at after work, and what is idle for long comes last.
WORKLOADS = {
    "independent": Workload(
        measure_independent,
        ("single", "independent"),
        ("independent",),
        {"air": 60, "local": 25, "celery": 50, "edge": 60},
    ),
    "chain": Workload(measure_chain, ("single",), ("chain",), {"air": 10, "local": 45, "celery": 50, "edge": 60}),
    "pandas": Workload(
        measure_pandas, ("pandas_warm_up",), ("pandas",), {"air": 15, "local": 45, "celery": 40, "edge": 60}
    ),
    "provider": Workload(
        measure_provider, ("provider_warm_up",), ("provider",), {"air": 15, "local": 35, "celery": 35, "edge": 45}
    ),
    "latency": Workload(measure_latency, ("single",), (), {"air": 25, "local": 35, "celery": 35, "edge": 45}),
    "memory": Workload(measure_memory, ("single",), ("standing",), {"air": 15, "local": 20, "celery": 25, "edge": 35}),
    "retired": Workload(measure_retired, (), (), {"air": WARM_PARENT_IDLE_S + 5}),
}
