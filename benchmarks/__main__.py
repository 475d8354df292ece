"""Measure Air-Executor and LocalExecutor in turn, in one Airflow per database, and write the numbers down.

The API server, the DAG processor and the database stay; the scheduler is started anew with each executor, and warmed up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.job_files import measure_scheduler_side_ms
from benchmarks.measuring import Numbers, measure_round
from benchmarks.report import describe_machine, render, write_into
from tests.support.airflow_site import AIR_EXECUTOR, LOCAL_EXECUTOR, AirflowSite
from tests.support.postgres import PostgresServer, find_server_programs

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "benchmarks.md"
EXECUTORS = (LOCAL_EXECUTOR, AIR_EXECUTOR)


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one round, one database, fewer tasks; docs stay as they are"
    )
    parser.add_argument("--rounds", type=int, help="rounds per executor and database (default: 3)")
    parser.add_argument("--databases", help="sqlite, postgresql or both, with a comma (default: what is there)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)

    rounds = options.rounds or (1 if options.quick else 3)
    width, length = (50, 10) if options.quick else (100, 20)
    databases = options.databases.split(",") if options.databases else _choose_databases(options.quick)
    directory = PROJECT / ".bench" / time.strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)

    result: dict[str, Any] = {
        "at": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": describe_machine(),
        "width": width,
        "length": length,
        "rounds": {},
        "job_files": measure_scheduler_side_ms(),
    }
    for database in databases:
        result["rounds"][database] = _measure(directory / database, database, rounds, width, length)
    (directory / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    text = render(result)
    print(f"\n{text}\nAll numbers: {directory.relative_to(PROJECT)}/result.json")
    if not options.quick:
        write_into(PAGE, text)
        print(f"Written into {PAGE.relative_to(PROJECT)}")
    return 0


def _choose_databases(quick: bool) -> list[str]:
    if find_server_programs() is None:
        print("PostgreSQL's server programs are not installed: measured on SQLite only")
        return ["sqlite"]
    return ["postgresql"] if quick else ["postgresql", "sqlite"]


def _measure(directory: Path, database: str, rounds: int, width: int, length: int) -> dict[str, list[Numbers]]:
    numbers: dict[str, list[Numbers]] = {executor: [] for executor in EXECUTORS}
    with _database(database) as url, _site(directory, url, width, length) as site:
        site.api.wait_for_dags(["independent", "chain"])
        for number in range(rounds):
            # Who comes first takes turns, so that a drift of the machine does not favour one.
            for executor in EXECUTORS if number % 2 == 0 else reversed(EXECUTORS):
                print(f"{database}, round {number + 1} of {rounds}, {executor.rpartition('.')[2]} ...", flush=True)
                numbers[executor].append(measure_round(site, executor))
                print(
                    "  " + ", ".join(f"{key} {value:.1f}" for key, value in numbers[executor][-1].items()), flush=True
                )
    return numbers


@contextlib.contextmanager
def _database(name: str) -> Iterator[str | None]:
    if name == "sqlite":
        yield None
        return
    with PostgresServer() as server:
        yield server.create("airflow")


def _site(directory: Path, url: str | None, width: int, length: int) -> AirflowSite:
    return AirflowSite(
        directory,
        executor=LOCAL_EXECUTOR,
        dags_folder=PROJECT / "benchmarks" / "dags",
        database_url=url,
        config={
            "core": {"parallelism": "32"},
            # Parsing the DAG files again and again is not what is measured.
            "dag_processor": {"min_file_process_interval": "3600"},
            # With the default of 15 connections, 32 tasks that start at once can block each other in the API server for 30 s.
            "database": {"sql_alchemy_pool_size": "40", "sql_alchemy_max_overflow": "20"},
            # A slow answer is to be seen as slowness, not as a failed task.
            "workers": {"execution_api_timeout": "60"},
        },
        environment={"AIR_BENCH_WIDTH": str(width), "AIR_BENCH_LENGTH": str(length)},
        components=("api-server", "dag-processor"),
    )


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
