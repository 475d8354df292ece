"""Turns the numbers of all rounds into a Markdown table, and puts it into docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tests.support.airflow_site import AIR_EXECUTOR, LOCAL_EXECUTOR

BEGIN = "<!-- measured: written by make bench -->"
END = "<!-- end of what make bench writes -->"

_ROWS = (
    # key, what, goal for the ratio as text, test of the ratio
    ("tasks_per_s", "{width} independent `true`, tasks/s", ">= 0.9", lambda ratio: ratio >= 0.9),
    ("chain_s", "chain of {length} `true`, DAG run seconds", "<= 1/5", lambda ratio: ratio <= 1 / 5),
    ("idle_mib", "memory when idle after work, MiB PSS of executor processes", "<= 1/5", lambda ratio: ratio <= 1 / 5),
    ("idle_processes", "processes when idle", "", None),
    ("cpu_per_task_ms", "CPU of scheduler, executor and tasks, ms per task", "", None),
    ("queued_to_started_ms", "queued to started in the chain, ms, median", "", None),
)
_ADDED_CPU_LIMIT_MS = 10.0


def describe_machine() -> dict[str, str]:
    """Return what the numbers depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": f"{len(os.sched_getaffinity(0))} x {model}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"Linux {platform.release()}",
        "Python": platform.python_version(),
        "Airflow": version("apache-airflow"),
        "air-executor": version("air-executor"),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def render(result: dict[str, Any]) -> str:
    """Return the tables of one result as Markdown."""
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    parts = [f"Measured {result['at']}: {machine}.", ""]
    for database, rounds in result["rounds"].items():
        parts += _render_database(database, rounds, result)
    files = result["job_files"]
    parts += [
        (
            "Calls that the scheduler makes, in a loop of their own: submitting a job takes "
            f"{files['submit_cpu_ms']:.2f} ms CPU ({files['submit_wall_ms']:.2f} ms), "
            f"reading back how it ended {files['read_cpu_ms']:.2f} ms CPU."
        ),
        "",
    ]
    return "\n".join(parts)


def write_into(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the markers of `page`."""
    before, _, rest = page.read_text().partition(begin)
    _, marker, after = rest.partition(end)
    if not marker:
        raise ValueError(f"{page} has no markers {begin!r} and {end!r}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def _render_database(database: str, rounds: dict[str, list[dict[str, float]]], result: dict[str, Any]) -> list[str]:
    ours, local = rounds[AIR_EXECUTOR], rounds[LOCAL_EXECUTOR]
    lines = [
        f"**{database}**, {len(ours)} round{'s' if len(ours) != 1 else ''} each, in turn: median (lowest to highest)",
        "",
        "| | LocalExecutor | AirExecutorExecutor | ratio | goal |",
        "|---|---|---|---|---|",
    ]
    for key, what, goal, test in _ROWS:
        theirs, mine = _values(local, key), _values(ours, key)
        ratio = statistics.median(mine) / statistics.median(theirs) if statistics.median(theirs) else float("inf")
        verdict = "" if test is None else f"{goal}: {'reached' if test(ratio) else '**missed**'}"
        lines.append(f"| {what.format(**result)} | {_range(theirs)} | {_range(mine)} | {ratio:.2f} | {verdict} |")
    files = result["job_files"]
    added = [
        numbers["manager_and_fork_server_cpu_ms"] + files["submit_cpu_ms"] + files["read_cpu_ms"] for numbers in ours
    ]
    verdict = "reached" if statistics.median(added) <= _ADDED_CPU_LIMIT_MS else "**missed**"
    lines.append(
        f"| CPU that job files, manager and warm parent add, ms per task | - | {_range(added)} | | <= 10 ms: {verdict} |"
    )
    return [*lines, ""]


def _values(rounds: list[dict[str, float]], key: str) -> list[float]:
    return [numbers[key] for numbers in rounds]


def _range(values: list[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    digits = 0 if middle >= 100 else 1 if middle >= 3 else 2
    if low == high:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
