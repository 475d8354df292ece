"""Measure what the history costs: tasks per second and CPU time with it and without it, in turn."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil

from air_executor.core.specs import JobSpec, TaskSpec
from air_executor.store.backlog import kept_journals
from air_executor.store.root import Root
from benchmarks.engine import engine
from benchmarks.report import describe_machine, new_result_file, now
from tests.support.postgres import PostgresServer, find_server_programs
from tests.support.waiting import wait_until

OFF, SQLITE, POSTGRES = "no history", "SQLite", "PostgreSQL"
_SLOTS = 4
_MOST_SLOWER = 0.1
_WRITER = "air_executor.history.writer"


def measure(kind: str, url: str | None, count: int) -> dict[str, float]:
    """Run one job of `count` x `true` on a new root; CPU times are in milliseconds per task."""
    settings: dict[str, Any] = {} if kind == OFF else {"history": True}
    if url is not None:
        settings["history_url"] = url
    with engine(_SLOTS, **settings) as ours:
        root = Root(ours.client.base_path)
        manager = psutil.Process(ours.pid)
        # The writer is there before anything is measured, as the fork server is.
        _wait_until_recorded(root)
        before_s, writer_before_s = _cpu_s(manager), _cpu_s(_writer(manager))
        tasks = tuple(TaskSpec(id=f"task-{number}", command="true") for number in range(count))
        begin = time.perf_counter()
        ours.client.submit(JobSpec(name="measured", tasks=tasks))
        ours.wait("measured")
        elapsed_s = time.perf_counter() - begin
        manager_s = _cpu_s(manager) - before_s
        _wait_until_recorded(root)
        recorded_s = time.perf_counter() - begin
        return {
            "tasks_per_s": count / elapsed_s,
            "manager_cpu_ms": manager_s / count * 1000,
            "writer_cpu_ms": (_cpu_s(_writer(manager)) - writer_before_s) / count * 1000,
            "recorded_after_s": recorded_s - elapsed_s if kind != OFF else 0.0,
        }


def _wait_until_recorded(root: Root) -> None:
    wait_until(lambda: kept_journals(root), lambda kept: not kept, timeout_s=300, what="everything recorded")


def _writer(manager: psutil.Process) -> psutil.Process | None:
    return next((each for each in manager.children() if _WRITER in each.cmdline()), None)


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def _databases() -> Iterator[dict[str, PostgresServer | None]]:
    """Yield the kinds that can be measured here."""
    kinds: dict[str, PostgresServer | None] = {OFF: None, SQLITE: None}
    if find_server_programs() is None:
        yield kinds
        return
    with PostgresServer() as server:
        yield {**kinds, POSTGRES: server}


def _find_slowdown(rounds: list[dict[str, float]], without: list[dict[str, float]]) -> float:
    """Return by what share it is slower than without history, by medians of the rounds: machines drift from one to the next."""
    return statistics.median(1 - a["tasks_per_s"] / b["tasks_per_s"] for a, b in zip(rounds, without, strict=True))


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="tasks of a job (default: 10000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind (default: 5)")
    parser.add_argument("--quick", action="store_true", help="fewer tasks, one round")
    options = parser.parse_args()
    if options.quick:
        options.count, options.rounds = 2000, 1
    found: dict[str, list[dict[str, float]]] = {}
    with _databases() as kinds:
        for number in range(options.rounds):
            # Each begins once: what a round does to the next one is shared out.
            order = [*kinds][number % len(kinds) :] + [*kinds][: number % len(kinds)]
            for kind in order:
                server = kinds[kind]
                url = None if server is None else server.create(f"history_{number}")
                numbers = measure(kind, url, options.count)
                found.setdefault(kind, []).append(numbers)
                shown = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
                print(f"round {number + 1}, {kind}: {shown}", flush=True)
    medians = {
        kind: {name: statistics.median(numbers[name] for numbers in rounds) for name in rounds[0]}
        for kind, rounds in found.items()
    }
    print(f"\n{options.count} x true, {_SLOTS} slots, {options.rounds} rounds in turn, medians; {describe_machine()}\n")
    print("| | tasks/s | slower by | manager CPU, ms/task | writer CPU, ms/task | recorded after, s |")
    print("|---|---|---|---|---|---|")
    slower = {kind: _find_slowdown(rounds, found[OFF]) for kind, rounds in found.items()}
    for kind, median in medians.items():
        print(
            f"| {kind} | {median['tasks_per_s']:.0f} | {f'{slower[kind]:.1%}' if kind != OFF else ''} | "
            f"{median['manager_cpu_ms']:.3f} | {median['writer_cpu_ms']:.3f} | {median['recorded_after_s']:.1f} |"
        )
    print(f"goal: at most {_MOST_SLOWER:.0%} slower: {'met' if max(slower.values()) <= _MOST_SLOWER else 'missed'}")
    result = {"at": now(), "rounds": found, "medians": medians}
    new_result_file("history").write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
