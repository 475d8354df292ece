"""Measure the same DAGs under AirExecutorExecutor, LocalExecutor, CeleryExecutor and EdgeExecutor, in turn.

Each executor has an environment and a database of its own; per round it gets a new Airflow, which is warmed up.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.databases import databases
from benchmarks.environments import EnvironmentUnavailableError
from benchmarks.executors import EXECUTORS, OURS, Executor
from benchmarks.job_files import measure_scheduler_side_ms
from benchmarks.measured_site import Sizes
from benchmarks.pictures import draw_all
from benchmarks.report import PROJECT, describe_machine, new_result_file, now, write_into
from benchmarks.runs import Numbers, warm_up
from benchmarks.side_by_side_report import BEGIN, END, render
from benchmarks.sites import Sites
from benchmarks.stopping import clean_up_on_signals
from benchmarks.workloads import WORKLOADS, dags_to_warm_up, phases_of

PAGE = PROJECT / "docs" / "benchmarks.md"
PICTURES = PROJECT / "docs" / "images"
DAGS = PROJECT / "benchmarks" / "dags"

_SITE_S = 30
"""To start a site and to stop it."""
_QUICK = Sizes(width=32, length=6, heavy=16, singles=3)
_QUICK_EXECUTORS = ("air", "local")
_QUICK_WORKLOADS = ("independent", "chain", "pandas", "memory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status: 1 if this project's own executor could not be measured."""
    options = _parse(arguments)
    clean_up_on_signals()
    if options.render:
        _publish(json.loads(options.render.read_text()), is_written=True)
        return 0
    executors: list[str] = options.executors
    workloads: list[str] = options.workloads
    sizes = _QUICK if options.quick else Sizes()
    if options.width:
        sizes = replace(sizes, width=options.width)
    print(
        f"About {estimate_s(executors, workloads, options.rounds, options.quick) / 60:.0f} minutes, beside installing."
    )
    shuffled = random.Random(options.seed)
    file = new_result_file("side-by-side")
    result: dict[str, Any] = {
        "at": now(),
        "machine": describe_machine(),
        "seed": options.seed,
        "sizes": vars(sizes),
        "workloads": workloads,
        "order": [],
        "versions": {},
        "unavailable": {key: _left_out(options) for key in EXECUTORS if key not in executors},
        "rounds": {key: [] for key in executors},
        "job_files": measure_scheduler_side_ms(),
    }
    for key in executors:
        _install(EXECUTORS[key], key, result)
    with databases(options.database_url) as server:
        sites = Sites(file.parent, server, sizes.variables())
        for number in range(1, options.rounds + 1):
            order = shuffled.sample(executors, len(executors))
            result["order"].append(order)
            for key in order:
                if key not in result["unavailable"]:
                    print(f"round {number} of {options.rounds}: {EXECUTORS[key].name}", flush=True)
                    _try_round(sites, key, number, workloads, sizes, result)
                    file.write_text(json.dumps(result, indent=2) + "\n")
    _publish(result, is_written=not options.quick and not options.keep_page)
    print(f"All numbers: {file.relative_to(PROJECT)}")
    return 1 if any(key in executors and key in result["unavailable"] for key in OURS) else 0


def estimate_s(executors: Sequence[str], workloads: Sequence[str], rounds: int, is_quick: bool) -> float:
    """Return about how many seconds it takes."""
    share = 0.4 if is_quick else 1.0
    names = [EXECUTORS[key].environment.name for key in executors]
    per_round = sum(_SITE_S + share * sum(WORKLOADS[w].seconds.get(name, 0) for w in workloads) for name in names)
    return rounds * per_round


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks side_by_side", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, less work; docs stay as they are")
    parser.add_argument("--executors", type=_names_of(EXECUTORS), help=f"with commas, of {', '.join(EXECUTORS)}")
    parser.add_argument("--workloads", type=_names_of(WORKLOADS), help=f"with commas, of {', '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=_positive, help="rounds per executor (default: 3)")
    parser.add_argument("--width", type=_positive, help="tasks side by side (default: 100)")
    parser.add_argument("--database-url", help="a PostgreSQL to use, of a role that may create databases")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the order of executors")
    parser.add_argument("--keep-page", action="store_true", help="leave docs as they are")
    parser.add_argument("--render", type=Path, metavar="RESULT", help="write docs from an earlier result.json instead")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.executors = options.executors or list(_QUICK_EXECUTORS if options.quick else EXECUTORS)
    options.workloads = options.workloads or list(_QUICK_WORKLOADS if options.quick else WORKLOADS)
    return options


def _names_of(table: dict[str, Any]) -> Any:
    def names(text: str) -> list[str]:
        asked = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in asked if name not in table]
        if unknown or not asked:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is none of {', '.join(table)}")
        return [name for name in table if name in asked]

    return names


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _left_out(options: argparse.Namespace) -> str:
    return "left out; name it with --executors" if options.quick else "left out by --executors"


def _install(executor: Executor, key: str, result: dict[str, Any]) -> None:
    try:
        executor.environment.install()
        result["versions"][key] = executor.environment.versions("apache-airflow", *executor.packages)
    except EnvironmentUnavailableError as error:
        print(f"{executor.name} cannot be installed: {error}", flush=True)
        result["unavailable"][key] = f"cannot be installed: {error}"


def measure_round(
    sites: Sites, key: str, number: int, workloads: Sequence[str], sizes: Sizes, numbers: Numbers
) -> None:
    """Add the numbers of one executor in one round to `numbers`, as they come."""
    begun = time.monotonic()
    with sites.site(key, f"round-{number}-{key}", DAGS) as site:
        wanted = {"single"} | {dag for name in workloads for dag in (*WORKLOADS[name].warm_up, *WORKLOADS[name].dags)}
        site.api.wait_for_dags(sorted(wanted))
        for phase in phases_of(workloads):
            warm_up(site, dags_to_warm_up(phase))
            print(f"  warm after {time.monotonic() - begun:.0f} s", flush=True)
            for name in phase:
                found = WORKLOADS[name].measure(site, sizes)
                numbers |= found
                shown = "; ".join(f"{what} {_brief(value)}" for what, value in found.items())
                print(f"  {name}: {shown or 'nothing'} (after {time.monotonic() - begun:.0f} s)", flush=True)
    print(f"  over after {time.monotonic() - begun:.0f} s", flush=True)


def _try_round(
    sites: Sites, key: str, number: int, workloads: Sequence[str], sizes: Sizes, result: dict[str, Any]
) -> None:
    numbers: Numbers = {}
    try:
        measure_round(sites, key, number, workloads, sizes, numbers)
    except Exception as error:
        # It is named in the report, with what was measured before; the others are measured all the same.
        traceback.print_exc()
        result["unavailable"][key] = f"failed in round {number}: {_summarise(error)}"
    if numbers:
        result["rounds"][key].append(numbers)


def _summarise(error: Exception) -> str:
    # What failed is in the first line, and why, where a log is quoted, in the last.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ... ".join(dict.fromkeys((lines[0][:300], lines[-1][:300])))


def _publish(result: dict[str, Any], is_written: bool) -> None:
    pictures = draw_all(result, PICTURES) if is_written else []
    text = render(result, pictures)
    print(f"\n{text}")
    if is_written:
        write_into(PAGE, text, BEGIN, END)
        print(f"Written into {PAGE.relative_to(PROJECT)}")


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return f"{sum(value.values()):.1f} ({', '.join(f'{role} {part:.1f}' for role, part in value.items())})"
    if isinstance(value, list):
        return ", ".join(f"{each:.0f}" for each in value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
