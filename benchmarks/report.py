"""What all parts of the benchmark share: the machine, where results go, and how a part writes its section of the page."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parent.parent


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


def now() -> str:
    """Return the time of now, for people."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def new_result_file(part: str) -> Path:
    """Make a directory for what a part of the benchmark leaves, and return where its numbers go."""
    directory = PROJECT / ".bench" / f"{part}-{time.strftime('%Y%m%d-%H%M%S')}"
    directory.mkdir(parents=True)
    return directory / "result.json"


def write_into(page: Path, text: str, begin: str, end: str) -> None:
    """Replace what stands between the markers of `page`.

    :raises ValueError: the page does not have both markers.
    """
    before, _, rest = page.read_text().partition(begin)
    _, marker, after = rest.partition(end)
    if not marker:
        raise ValueError(f"{page} has no markers {begin!r} and {end!r}")
    page.write_text(f"{before}{begin}\n{text.rstrip()}\n{end}{after}")


def show_range(values: Sequence[float]) -> str:
    """Return the median, and the lowest and highest value where they differ."""
    if not values:
        return "-"
    low, middle, high = min(values), statistics.median(values), max(values)
    digits = 0 if middle >= 100 or all(value == int(value) for value in values) else 1 if middle >= 3 else 2
    if f"{low:.{digits}f}" == f"{high:.{digits}f}":
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def median_of(values: Sequence[float]) -> float:
    """Return the median; what is too short to measure counts as a millionth, so that ratios can be made."""
    return max(statistics.median(values), 1e-6)


def show_verdict(is_reached: bool) -> str:
    """Return what stands beside a goal."""
    return "met" if is_reached else "**missed**"
