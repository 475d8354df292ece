"""Measure work that a DAG finds while it runs: handed over to the job engine, and as mapped tasks under LocalExecutor."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.databases import databases
from benchmarks.report import (
    PROJECT,
    describe_machine,
    median_of,
    new_result_file,
    now,
    show_range,
    show_verdict,
    write_into,
)
from benchmarks.runs import Numbers, measure_run, run_dag, settle
from benchmarks.sites import Sites
from benchmarks.stopping import clean_up_on_signals

BEGIN = "<!-- hybrid: written by make bench -->"
END = "<!-- end of the hybrid numbers -->"
PAGE = PROJECT / "docs" / "benchmarks.md"

_DAGS = {"air": "hand_over", "local": "mapped"}
_GOAL = 30
_LIMIT_S = 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks hybrid", description=__doc__)
    parser.add_argument("--count", type=int, help="pieces of work that are found (default: 1237)")
    parser.add_argument("--rounds", type=int, help="rounds of both, in turn (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one round, fewer tasks; docs stay as they are")
    parser.add_argument("--database-url", help="a PostgreSQL to use, of a role that may create databases")
    parser.add_argument("--keep-page", action="store_true", help="leave docs as they are")
    options = parser.parse_args(arguments)
    clean_up_on_signals()
    count = options.count or (100 if options.quick else 1237)
    rounds = options.rounds or (1 if options.quick else 3)
    print(f"About {rounds * (2 + count / 10 / 60):.0f} minutes, beside installing.", flush=True)

    file = new_result_file("hybrid")
    result: dict[str, Any] = {"at": now(), "machine": describe_machine(), "count": count}
    result["rounds"] = {key: [] for key in _DAGS}
    with databases(options.database_url) as server:
        sites = Sites(file.parent, server, {"AIR_BENCH_FOUND": str(count)})
        for number in range(1, rounds + 1):
            for key in _DAGS if number % 2 else reversed(_DAGS):
                numbers = _measure(sites, key, number)
                result["rounds"][key].append(numbers)
                file.write_text(json.dumps(result, indent=2) + "\n")
                print(f"round {number} of {rounds}: {_DAGS[key]} {numbers}", flush=True)
    text = render(result)
    print(f"\n{text}\n\nAll numbers: {file.relative_to(PROJECT)}")
    if not options.quick and not options.keep_page:
        write_into(PAGE, text, BEGIN, END)
        print(f"Written into {PAGE.relative_to(PROJECT)}")
    return 0


def render(result: dict[str, Any]) -> str:
    """Return the table of one result as Markdown."""
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    air, local = (result["rounds"][key] for key in _DAGS)
    lines = [
        f"Measured {result['at']}: {machine}; rounds in turn: {len(air)}.",
        "",
        f"| 1 task finds {result['count']:,}, each `true` | handed over | mapped, LocalExecutor | ratio | goal |",
        "|---|---|---|---|---|",
    ]
    for key, what in (("seconds", "DAG run, s"), ("cpu_s", "CPU of all of Airflow and Air-Executor, s")):
        ours, theirs = [numbers[key] for numbers in air], [numbers[key] for numbers in local]
        ratio = median_of(theirs) / median_of(ours)
        lines.append(
            f"| {what} | {show_range(ours)} | {show_range(theirs)} | 1/{ratio:.0f} "
            f"| <= 1/{_GOAL}: {show_verdict(ratio >= _GOAL)} |"
        )
    return "\n".join([*lines, ""])


def _measure(sites: Sites, key: str, number: int) -> Numbers:
    components = ("api-server", "dag-processor", "scheduler", "triggerer")
    # Airflow maps at most 1,024 tasks unless it is told to.
    config = {"core": {"max_map_length": "5000"}}
    dag_id = _DAGS[key]
    folder = PROJECT / "benchmarks" / "hybrid_dags" / key
    with sites.site(key, f"round-{number}-{key}", folder, components=components, config=config) as site:
        site.api.wait_for_dags([dag_id, f"{dag_id}_warm_up"])
        run_dag(site, f"{dag_id}_warm_up")
        settle(site, calm_s=3)
        run = measure_run(site, dag_id, _LIMIT_S)
        return {"seconds": run.seconds, "cpu_s": sum(run.cpu_s.values()), "cpu_by_role_s": run.cpu_s}


if __name__ == "__main__":
    sys.exit(main())
