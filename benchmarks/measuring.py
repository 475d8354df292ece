"""One round: a scheduler with one executor, warmed up, then the measured work."""

from __future__ import annotations

import statistics
from datetime import datetime
from typing import Any

import psutil

from benchmarks.processes import cpu_between, cpu_times, executor_processes, pss_mib
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.waiting import wait_until

Numbers = dict[str, float]


def measure_round(site: AirflowSite, executor: str) -> Numbers:
    """Start the scheduler with `executor`, warm it up with one run of each DAG, measure the next, stop it."""
    site.use_executor(executor)
    scheduler = psutil.Process(site.start("scheduler").pid)
    try:
        site.wait_until_healthy()
        # One after the other first: an API server that was just started answers its first requests slowly.
        for dag_id in ("chain", "independent"):
            _run(site, dag_id)

        before = cpu_times([scheduler, *executor_processes(site)])
        independent = _run(site, "independent")
        _wait_until_settled(site)
        after = cpu_times([scheduler, *executor_processes(site)])
        chain = _run(site, "chain")
        _wait_until_settled(site)
        idle = executor_processes(site)

        count = len(independent["task_instances"])
        used = cpu_between(before, after)
        numbers = {
            "tasks_per_s": count / independent["seconds"],
            "chain_s": chain["seconds"],
            "queued_to_started_ms": statistics.median(map(_waited_ms, chain["task_instances"])),
            "cpu_per_task_ms": (used.own_s + used.reaped_s) / count * 1000,
            "idle_mib": pss_mib(idle),
            "idle_processes": len(idle),
        }
        if executor == AIR_EXECUTOR:
            ours = [process.pid for process in idle]
            added = cpu_between(_only(before, ours), _only(after, ours))
            numbers["manager_and_fork_server_cpu_ms"] = added.own_s / count * 1000
        return numbers
    finally:
        site.end_executor()


def _run(site: AirflowSite, dag_id: str) -> dict[str, Any]:
    run_id = site.api.trigger(dag_id)
    state = site.api.wait_for_run(dag_id, run_id, timeout_s=600)
    if state != "success":
        raise RuntimeError(f"{dag_id} under {site.executor}: {state}, {site.api.states(dag_id, run_id)}")
    run = site.api.run(dag_id, run_id)
    seconds = (_instant(run["end_date"]) - _instant(run["start_date"])).total_seconds()
    return {"seconds": seconds, "task_instances": site.api.task_instances(dag_id, run_id)}


def _wait_until_settled(site: AirflowSite) -> None:
    # Supervisors of tasks that have just ended are still on their way out; reaped, their CPU time counts.
    seen: list[frozenset[int]] = []

    def look() -> frozenset[int]:
        seen.append(frozenset(process.pid for process in executor_processes(site)))
        return seen[-1]

    wait_until(look, lambda pids: seen[-5:].count(pids) == 5, timeout_s=60, interval_s=0.2, what="runners to be gone")


def _waited_ms(instance: dict[str, Any]) -> float:
    return (_instant(instance["start_date"]) - _instant(instance["queued_when"])).total_seconds() * 1000


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _only(times: dict[int, Any], pids: list[int]) -> dict[int, Any]:
    return {pid: times[pid] for pid in pids if pid in times}
