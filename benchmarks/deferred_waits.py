"""Measure many deferred waits at once: the triggerer's CPU, and how soon a job's end reaches Airflow.

`python -m benchmarks.deferred_waits`. Each job is open and holds no task, so that nothing but the waits costs anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobOptions, JobSpec
from benchmarks.report import PROJECT
from benchmarks.stopping import clean_up_on_signals
from tests.support.airflow_site import AIR_EXECUTOR, AirflowSite
from tests.support.postgres import PostgresServer, find_server_programs
from tests.support.waiting import wait_until

_DAGS = PROJECT / "benchmarks" / "waiting_dags"
_KINDS = {"goes on in a worker": "waits_for_worker", "ends in the triggerer": "waits_end_there"}
_GOAL_CPU_PERCENT = 1.0
_GOAL_LATENCY_S = 0.3
_SETTLE_S = 5.0
_Numbers = dict[str, float]


def measure_deferred_waits(count: int = 100, steady_s: float = 30.0, spacing_s: float = 0.5) -> dict[str, _Numbers]:
    """Return, for each way to end a deferred wait, what `count` of them cost and how late their ends are.

    :param steady_s: how long CPU is measured, without waits and with them.
    :param spacing_s: seconds between the ends of two jobs: what goes on in workers must not keep the machine busy.
    """
    with _site(count) as site:
        client = AirExecutorClient(site.base_path)
        site.api.wait_for_dags(list(_KINDS.values()))
        site.wait_for_manager()
        time.sleep(_SETTLE_S)
        idle_percent = _measure_cpu(site, steady_s)
        result: dict[str, _Numbers] = {}
        for kind, dag_id in _KINDS.items():
            names = [f"{dag_id}.awaited-{number}" for number in range(count)]
            for name in names:
                client.submit(JobSpec(name=name, tasks=(), options=JobOptions(is_open=True)))
            run_id = site.api.trigger(dag_id)
            _wait_until_deferred(site, dag_id, run_id, count)
            waiting_percent = _measure_cpu(site, steady_s)
            for name in names:
                client.close(name)
                time.sleep(spacing_s)
            state = site.api.wait_for_run(dag_id, run_id, timeout_s=600)
            if state != "success":
                raise RuntimeError(f"{dag_id}: {state}")
            late = sorted(_lateness_s(site, client, dag_id, run_id))
            result[kind] = {
                "waits": count,
                "cpu_percent_idle": idle_percent,
                "cpu_percent_waiting": waiting_percent,
                "cpu_percent_added": waiting_percent - idle_percent,
                "late_p50_s": statistics.median(late),
                "late_p95_s": late[int(len(late) * 0.95)],
                "late_max_s": late[-1],
            }
        return result


def _lateness_s(site: AirflowSite, client: AirExecutorClient, dag_id: str, run_id: str) -> Iterator[float]:
    """Yield the seconds between the end that state.json tells and the moment at which Airflow's database knew."""
    for instance in site.api.task_instances(dag_id, run_id):
        ended_at = client.job(f"{dag_id}.awaited-{instance['map_index']}").updated_at
        # Set by the triggerer: one when it has the scheduler go on with the task, the other when it ends it itself.
        known_at = instance["scheduled_when" if dag_id == "waits_for_worker" else "end_date"]
        yield (datetime.fromisoformat(known_at.replace("Z", "+00:00")) - ended_at).total_seconds()


def _measure_cpu(site: AirflowSite, for_s: float) -> float:
    """Return the percentage of one core that the triggerer's processes use."""
    begun, before = time.monotonic(), _cpu_s(site)
    time.sleep(for_s)
    return (_cpu_s(site) - before) / (time.monotonic() - begun) * 100


def _cpu_s(site: AirflowSite) -> float:
    process = psutil.Process(site.pid("triggerer"))
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _wait_until_deferred(site: AirflowSite, dag_id: str, run_id: str, count: int) -> None:
    wait_until(
        lambda: list(site.api.states(dag_id, run_id).values()).count("deferred"),
        lambda seen: seen == count,
        timeout_s=600,
        interval_s=1.0,
        what="all waits to be deferred",
    )
    # The triggerer takes them up within its next two seconds.
    time.sleep(_SETTLE_S)


@contextlib.contextmanager
def _site(count: int) -> Iterator[AirflowSite]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="air-bench-")))
        url = None
        if find_server_programs() is not None:
            url = stack.enter_context(PostgresServer()).create("airflow")
        yield stack.enter_context(
            AirflowSite(
                directory,
                executor=AIR_EXECUTOR,
                dags_folder=_DAGS,
                database_url=url,
                config={
                    "core": {"parallelism": "16"},
                    "dag_processor": {"min_file_process_interval": "3600"},
                    "database": {"sql_alchemy_pool_size": "40", "sql_alchemy_max_overflow": "20"},
                    "workers": {"execution_api_timeout": "60"},
                },
                environment={"AIR_BENCH_WAITS": str(count)},
            )
        )


def _render(result: dict[str, Any]) -> str:
    lines = [
        "| a deferred wait | waits | triggerer CPU without | with them | p50 | p95 | latest |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {each['waits']} | {each['cpu_percent_idle']:.2f} % | {each['cpu_percent_waiting']:.2f} % "
        f"| {each['late_p50_s']:.3f} s | {each['late_p95_s']:.3f} s | {each['late_max_s']:.3f} s |"
        for kind, each in result.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the numbers; the exit status says whether the goals were reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deferred_waits", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 waits, ten seconds of each state")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    clean_up_on_signals()
    result = measure_deferred_waits(20, 10.0) if options.quick else measure_deferred_waits()
    print(json.dumps(result, indent=2) if options.json else _render(result))
    cpu = max(each["cpu_percent_added"] for each in result.values())
    late = max(each["late_p95_s"] for each in result.values())
    print(
        f"goals: {cpu:.2f} % of a core for all waits (<= {_GOAL_CPU_PERCENT:g}), p95 {late:.3f} s (<= {_GOAL_LATENCY_S:g})",
        file=sys.stderr,
    )
    return 0 if cpu <= _GOAL_CPU_PERCENT and late <= _GOAL_LATENCY_S else 1


if __name__ == "__main__":
    sys.exit(main())
