"""Running a DAG and saying what it took: time as Airflow recorded it, CPU time by role."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.measured_site import MeasuredSite
from benchmarks.processes import SupervisorSampler, split_cpu
from tests.support.airflow_api import FINISHED_RUN
from tests.support.waiting import wait_until

Numbers = dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """One run of a DAG that ended well."""

    seconds: float
    instances: list[dict[str, Any]]
    cpu_s: dict[str, float]
    """By role; empty where it was not measured."""

    def cpu_ms_per_task(self, count: int | None = None) -> dict[str, float]:
        """Return the CPU milliseconds per task by role."""
        return {role: spent_s / (count or len(self.instances)) * 1000 for role, spent_s in self.cpu_s.items()}

    def waits_ms(self) -> list[float]:
        """Return for each task instance the milliseconds from queued to started."""
        return [
            (_instant(instance["start_date"]) - _instant(instance["queued_when"])).total_seconds() * 1000
            for instance in self.instances
        ]


def run_dag(site: MeasuredSite, dag_id: str, timeout_s: float = 600) -> FinishedRun:
    """Run a DAG once and wait for its end.

    :raises RuntimeError: the run failed; AssertionError: it took longer than `timeout_s`.
    """
    run_id = site.api.trigger(dag_id)
    finish_run(site, dag_id, run_id, timeout_s)
    return _describe(site, dag_id, run_id, {})


def finish_run(site: MeasuredSite, dag_id: str, run_id: str, timeout_s: float) -> None:
    """Wait for the end of a run.

    :raises RuntimeError: the run failed; AssertionError: it took longer than `timeout_s`.
    """

    def look() -> str:
        site.check_all_alive()
        return str(site.api.run(dag_id, run_id)["state"])

    # Only the run is asked for: a page of task instances would cost the API server more than the tasks do.
    state = wait_until(
        look, lambda seen: seen in FINISHED_RUN, timeout_s=timeout_s, interval_s=0.3, what=f"the run of {dag_id}"
    )
    if state != "success":
        failed = {name: s for name, s in site.api.states(dag_id, run_id).items() if s != "success"}
        raise RuntimeError(f"{dag_id} under {site.measured.name}: {state}, {str(failed)[:500]}")


def measure_run(site: MeasuredSite, dag_id: str, timeout_s: float = 600) -> FinishedRun:
    """Run a DAG once and read what CPU time it took, until the last of its processes was reaped."""
    processes = site.processes_by_role
    has_pool = site.measured.has_pool
    before = processes.read_cpu()
    with SupervisorSampler(processes, is_needed=not has_pool) as supervisors:
        run_id = site.api.trigger(dag_id)
        finish_run(site, dag_id, run_id, timeout_s)
        settle(site)
    cpu_s = split_cpu(before, processes.read_cpu(), supervisors.used_s, has_pool)
    return _describe(site, dag_id, run_id, cpu_s)


def settle(site: MeasuredSite, calm_s: float = 1.0) -> None:
    """Wait until no process of the executor came or went for `calm_s`: what is on its way out counts when it is reaped."""
    seen: frozenset[int] = frozenset()
    since = time.monotonic()

    def calm_for_s() -> float:
        nonlocal seen, since
        now = frozenset(process.pid for process in site.processes_by_role.of_executor())
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since

    wait_until(calm_for_s, lambda calm: calm >= calm_s, timeout_s=60, interval_s=0.2, what="processes to come to rest")


def warm_up(site: MeasuredSite, dag_ids: Sequence[str]) -> None:
    """Run DAGs, the first alone and once more at the end, and wait until the executor has come to rest."""
    # An API server that was just started answers its first requests slowly: not all at once.
    run_dag(site, dag_ids[0])
    for dag_id, run_id in [(dag_id, site.api.trigger(dag_id)) for dag_id in dag_ids[1:]]:
        finish_run(site, dag_id, run_id, 600)
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
        run_dag(site, dag_ids[0])
        settle(site, calm_s=3)


def _describe(site: MeasuredSite, dag_id: str, run_id: str, cpu_s: dict[str, float]) -> FinishedRun:
    run = site.api.run(dag_id, run_id)
    seconds = (_instant(run["end_date"]) - _instant(run["start_date"])).total_seconds()
    return FinishedRun(seconds, site.api.task_instances(dag_id, run_id), cpu_s)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
