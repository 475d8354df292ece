"""Run thousands of tasks under AirExecutorExecutor, look at what it holds after every few hundred, and say what grows.

The load of eight hours in some minutes: also what the manager does by the clock is done more often than by default.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.databases import databases
from benchmarks.executors import EXECUTORS, PARALLELISM
from benchmarks.footprint import Footprint, lowest_of, read_footprint
from benchmarks.measured_site import MeasuredSite
from benchmarks.report import PROJECT, describe_machine, new_result_file, now
from benchmarks.runs import finish_run, settle, warm_up
from benchmarks.sites import Sites
from benchmarks.soak_report import find_faults, render
from benchmarks.stopping import clean_up_on_signals

_DAGS = PROJECT / "benchmarks" / "soak_dags"
_DAG_ID = "soak"
_WIDTH = 100
_RUNS_AT_ONCE = 3
_SAMPLES = 20
_RUN_LIMIT_S = 1800
_SIMULATED_HOURS = 8
_KEEP_FINISHED_S = 30.0
_RESCAN_S = 0.15
"""By default 5 s: in a quarter of an hour as many looks at all directories as else in eight hours."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status: 1 if anything grows."""
    options = _parse(arguments)
    clean_up_on_signals()
    file = new_result_file("soak")
    result: dict[str, Any] = {"at": now(), "machine": describe_machine(), "executor": options.executor}
    variables = {"AIR_BENCH_WIDTH": str(_WIDTH), "AIR_BENCH_RUNS_AT_ONCE": str(_RUNS_AT_ONCE)}
    config = {"air_executor": {"keep_finished": f"{_KEEP_FINISHED_S:g}"}}
    tasks: list[int] = [0]
    samples: list[Footprint] = []
    with databases(options.database_url) as server:
        sites = Sites(file.parent, server, variables)
        _write_settings(file.parent / "site" / ".air-executor")
        with sites.site(options.executor, "site", _DAGS, config=config) as site:
            site.api.wait_for_dags([_DAG_ID])
            warm_up(site, [_DAG_ID] * 3)
            samples.append(_take_sample(site))
            begun = time.monotonic()
            while tasks[-1] < options.tasks:
                tasks.append(tasks[-1] + _run_portion(site, options.tasks))
                samples.append(_take_sample(site))
                result |= {"tasks": tasks, "samples": samples, "seconds": time.monotonic() - begun}
                file.write_text(json.dumps(result, indent=2) + "\n")
                print(f"{tasks[-1]} tasks, {result['seconds']:.0f} s: {_brief(samples[-1])}", flush=True)
    print(render(tasks, samples, _describe(options.executor, tasks[-1], result["seconds"])))
    print(f"All numbers: {file.relative_to(PROJECT)}")
    return 1 if find_faults(tasks, samples) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="400 tasks: too few to tell a small growth")
    parser.add_argument("--tasks", type=int, help=f"in runs of {_WIDTH} (default: 10,000)")
    # What grows under another executor as well is Airflow's.
    parser.add_argument("--executor", choices=EXECUTORS, default="air", help="another one, to compare (default: air)")
    parser.add_argument("--database-url", help="a PostgreSQL to use, of a role that may create databases")
    options = parser.parse_args(arguments)
    options.tasks = options.tasks or (400 if options.quick else 10_000)
    return options


def _write_settings(base_path: Path) -> None:
    base_path.mkdir(mode=0o700, parents=True)
    (base_path / "settings.json").write_text(json.dumps({"rescan_s": _RESCAN_S}) + "\n")


def _run_portion(site: MeasuredSite, total: int) -> int:
    """Run the DAG some times, a few runs at once so that the slots stay busy; return how many tasks that were."""
    count = max(round(total / _WIDTH / _SAMPLES), 1)
    for run_id in [site.api.trigger(_DAG_ID) for _ in range(count)]:
        finish_run(site, _DAG_ID, run_id, _RUN_LIMIT_S)
    return count * _WIDTH


def _take_sample(site: MeasuredSite) -> Footprint:
    settle(site, calm_s=2)
    return lowest_of(lambda: read_footprint(site, _KEEP_FINISHED_S))


def _describe(executor: str, tasks: int, seconds: float) -> str:
    return (
        f"{EXECUTORS[executor].name}: {tasks:,} `true` tasks in {seconds / 60:.0f} min, {PARALLELISM} slots, for "
        f"{_SIMULATED_HOURS} h of {tasks / _SIMULATED_HOURS:,.0f} an hour; directories listed every {_RESCAN_S:g} s, "
        f"finished jobs kept {_KEEP_FINISHED_S:g} s"
    )


def _brief(sample: Footprint) -> str:
    return ", ".join(f"{what} {value:.1f}" for what, value in sample.items() if "memory of its own" in what)


if __name__ == "__main__":
    sys.exit(main())
