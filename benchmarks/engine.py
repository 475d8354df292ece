"""Measure the job engine beside xargs, GNU parallel, task-spooler and nq, and write the numbers down."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec
from air_executor.manager_process import signal_manager, wait_until_stopped
from air_executor.store.root import Root
from benchmarks.engine_report import BEGIN, END, render
from benchmarks.peers import PEERS
from benchmarks.report import PROJECT, describe_machine, new_result_file, now, write_into

PAGE = PROJECT / "docs" / "benchmarks.md"
PICTURE = PROJECT / "docs" / "images" / "cost-per-task.svg"

_CHILD = (
    "import sys, air_executor\n"
    "names = [f'file-{n}' for n in range(1187)]\n"
    "tasks = [{'id': name, 'command': 'true'} for name in names]\n"
    "finder = {'id': 'finder', 'command': sys.executable, 'args': ['-c', sys.argv[1]]}\n"
    "air_executor.queue_tasks([*tasks, finder, *({'id': f'more-{n}', 'command': 'true'} for n in range(49))])\n"
)
_GRANDCHILD = (
    "import air_executor\nair_executor.queue_tasks([{'id': f'deep-{n}', 'command': 'true'} for n in range(50)])\n"
)


class Engine:
    """A manager of its own and a client."""

    def __init__(self, directory: Path, slots: int, **settings: float | bool | str) -> None:
        self.client = AirExecutorClient(directory)
        self.pid = self.client.start_manager(slots=slots, **settings)
        # The fork server is there before anything is measured, as the peers' programs are in the page cache.
        self.run("warm-up", ["true"], 1)

    def run(self, name: str, command: list[str], count: int) -> dict[str, float]:
        """Run a job of `count` tasks of one command and return what it took."""
        tasks = tuple(TaskSpec(id=f"task-{n}", command=command[0], args=tuple(command[1:])) for n in range(count))
        before, begin = self.cpu_s(), time.perf_counter()
        self.client.submit(JobSpec(name=name, tasks=tasks))
        self.wait(name)
        elapsed_s = time.perf_counter() - begin
        manager_s, servers_s = (after - earlier for after, earlier in zip(self.cpu_s(), before, strict=True))
        return {
            "tasks_per_s": count / elapsed_s,
            "seconds": elapsed_s,
            "manager_cpu_ms": manager_s / count * 1000,
            "fork_server_cpu_ms": servers_s / count * 1000,
            "manager_rss_mib": psutil.Process(self.pid).memory_info().rss / 2**20,
        }

    def wait(self, name: str) -> None:
        """Wait until a job has completed."""
        view = self.client.wait(name, 600)
        if view.state.value != "completed":
            raise RuntimeError(f"{name}: {view.state.value}: {view.error}")

    def cpu_s(self) -> tuple[float, float]:
        """Return CPU seconds of the manager and of its fork servers, without what they ran."""
        manager = psutil.Process(self.pid)
        servers = [child.cpu_times() for child in manager.children()]
        own = manager.cpu_times()
        return own.user + own.system, sum(times.user + times.system for times in servers)


@contextmanager
def engine(slots: int, **settings: float | bool | str) -> Iterator[Engine]:
    """Run a manager on a new root; `settings` are those of `ManagerSettings`."""
    with tempfile.TemporaryDirectory() as directory:
        root = Root.open(directory)
        try:
            yield Engine(Path(directory), slots, **settings)
        finally:
            signal_manager(root, signal.SIGTERM)
            wait_until_stopped(root, 60)


def measure_rates(command: list[str], count: int, width: int, rounds: int) -> dict[str, list[float | None]]:
    """Return tasks per second of everybody, in turn."""
    rates: dict[str, list[Any]] = {"Air-Executor": [], **{peer.name: [] for peer in PEERS}}
    details: list[Any] = []
    for number in range(rounds):
        print(f"{count} x {' '.join(command)}, {width} at once, round {number + 1} of {rounds}", flush=True)
        with engine(width) as ours:
            details.append(ours.run("measured", command, count))
            rates["Air-Executor"].append(details[-1]["tasks_per_s"])
        for peer in PEERS:
            rates[peer.name].append(peer.tasks_per_s(command, count, width))
    return {**rates, "details": details}


def measure_curve(sizes: list[int], width: int) -> list[dict[str, float]]:
    """Return what a task costs in jobs of different sizes."""
    points = []
    for size in sizes:
        print(f"a job of {size} tasks", flush=True)
        with engine(width) as ours:
            numbers = ours.run("measured", ["true"], size)
            points.append({"size": size, **numbers})
    return points


def measure_latency(count: int) -> list[float]:
    """Return milliseconds from the call of submit to the start of the process, on an idle machine, sorted."""
    waits_ms = []
    with engine(4) as ours:
        for number in range(count):
            time.sleep(0.05)
            begin = time.time()
            ours.client.submit(JobSpec(name=f"one-{number}", tasks=(TaskSpec(id="task", command="true"),)))
            ours.wait(f"one-{number}")
            started_at = ours.client.tasks(f"one-{number}")[0].started_at
            if started_at is not None:
                waits_ms.append((started_at.timestamp() - begin) * 1000)
    return sorted(waits_ms)


def measure_discovery() -> float:
    """Return seconds for one task that queues 1,237 tasks, one of which queues 50 more."""
    with engine(8) as ours:
        environment = ours.client.save_environment(
            sys.executable, {**os.environ, "PYTHONPATH": str(PROJECT)}, str(PROJECT)
        )
        task = TaskSpec(id="discover", command=sys.executable, args=("-c", _CHILD, _GRANDCHILD))
        begin = time.perf_counter()
        ours.client.submit(JobSpec(name="found", tasks=(task,), options=JobOptions(environment=environment)))
        ours.wait("found")
        elapsed_s = time.perf_counter() - begin
        if ours.client.job("found").tasks["completed"] != 1 + 1237 + 50:
            raise RuntimeError("not all tasks were found")
        return elapsed_s


def measure_efficiency() -> dict[str, float]:
    """Return how much longer runners lived than their work, and the job took than ideal: 100 x 1 s on 10 slots."""
    with engine(10) as ours:
        numbers = ours.run("hundred", ["sleep", "1"], 100)
        lives_s = [
            (task.completed_at - task.started_at).total_seconds()
            for task in ours.client.tasks("hundred")
            if task.completed_at and task.started_at
        ]
        manager = psutil.Process(ours.pid)
        deadline = time.monotonic() + 60
        while manager.children() and time.monotonic() < deadline:
            time.sleep(0.1)
        return {
            "runner_time_ratio": sum(lives_s) / 100,
            "wall_ratio": numbers["seconds"] / 10,
            "left_running": len(manager.children()),
        }


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer tasks, one round; docs stay as they are")
    parser.add_argument("--rounds", type=int, help="rounds of everybody (default: 3)")
    parser.add_argument("--sleep-count", type=int, help="tasks of 10 ms (default: as many as `true`)")
    options = parser.parse_args()
    count, rounds, sizes = (1000, 1, [100, 1000, 5000]) if options.quick else (10_000, 3, [100, 1000, 10_000, 100_000])
    rounds = options.rounds or rounds
    latency = measure_latency(20 if options.quick else 100)
    result: dict[str, Any] = {
        "at": now(),
        "machine": describe_machine(),
        "count": count,
        "true": measure_rates(["true"], count, 4, rounds),
        "sleep_count": options.sleep_count or count,
        "sleep": measure_rates(["sleep", "0.01"], options.sleep_count or count, 16, rounds),
        "curve": measure_curve(sizes, 4),
        "latency_p50_ms": statistics.median(latency),
        "latency_p95_ms": latency[int(len(latency) * 0.95)],
        "discovery_s": [measure_discovery() for _ in range(rounds)],
        "efficiency": measure_efficiency(),
    }
    file = new_result_file("engine")
    file.write_text(json.dumps(result, indent=2) + "\n")
    text = render(result, None if options.quick else PICTURE)
    print(f"\n{text}\nAll numbers: {file.relative_to(PROJECT)}")
    if not options.quick:
        write_into(PAGE, text, BEGIN, END)
    return 0


if __name__ == "__main__":
    sys.exit(main())
