"""Turns the numbers of the job engine into Markdown and a picture."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS

BEGIN = "<!-- engine: written by make bench -->"
END = "<!-- end of the engine's numbers -->"


def render(result: dict[str, Any], picture: Path | None) -> str:
    """Return the tables of one result as Markdown.

    :param picture: where to draw the cost per task; None draws nothing.
    """
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines = [f"Measured {result['at']}: {machine}.", ""]
    lines += _rates(result)
    lines += _goals(result)
    lines += _curve(result["curve"], picture)
    return "\n".join(lines)


def _rates(result: dict[str, Any]) -> list[str]:
    count, sleep_count = f"{result['count']:,}", f"{result['sleep_count']:,}"
    lines = [
        "Tasks per second, median (lowest to highest) of the rounds, everybody in turn:",
        "",
        f"| | keeps | {count} x `true`, 4 at once | {sleep_count} x `sleep 0.01`, 16 at once |",
        "|---|---|---|---|",
    ]
    keeps = {"Air-Executor": "dependencies, retries, limits, a log a task; durable"} | {
        peer.name: peer.keeps for peer in PEERS
    }
    lines += [
        f"| {name} | {kept} | {_range(result['true'][name])} | {_range(result['sleep'][name])} |"
        for name, kept in keeps.items()
    ]
    return [*lines, ""]


def _goals(result: dict[str, Any]) -> list[str]:
    ours = statistics.median(result["true"]["Air-Executor"])
    parallel = [rate for rate in result["true"]["GNU parallel --joblog"] if rate is not None]
    details = result["true"]["details"]
    efficiency = result["efficiency"]
    curve = {point["size"]: point for point in result["curve"]}
    largest, base = curve[max(curve)], curve.get(1000, curve[min(curve)])
    growth = largest["seconds"] / largest["size"] / (base["seconds"] / base["size"])
    memory_limit = 40 + largest["size"] / 1024
    rows = [
        ("`true` tasks/s", ours, ">= 800"),
        ("the same, times GNU parallel", ours / statistics.median(parallel) if parallel else None, ">= 2"),
        ("manager CPU per task, ms", statistics.median(each["manager_cpu_ms"] for each in details), "<= 0.5"),
        ("fork server CPU per task, ms", statistics.median(each["fork_server_cpu_ms"] for each in details), ""),
        ("submit to start, idle, p50 ms", result["latency_p50_ms"], "<= 5"),
        ("submit to start, idle, p95 ms", result["latency_p95_ms"], ""),
        (f"cost per task at {largest['size']:,}, times that at {base['size']:,}", growth, "<= 1.3"),
        (f"manager memory with {largest['size']:,} tasks, MiB", largest["manager_rss_mib"], f"<= {memory_limit:.0f}"),
        ("1 task finds 1,237, one of which finds 50, s", statistics.median(result["discovery_s"]), "<= 3"),
        ("100 x 1 s on 10 slots: runner time / work", efficiency["runner_time_ratio"], "<= 1.02"),
        ("the same: wall time / ideal", efficiency["wall_ratio"], "<= 1.05"),
        ("the same: processes left beside the manager", efficiency["left_running"], "<= 0"),
    ]
    lines = ["| | measured | goal |", "|---|---|---|"]
    for what, value, goal in rows:
        shown = "not measured" if value is None else f"{value:.{0 if value >= 100 else 2}f}"
        lines.append(f"| {what} | {shown} | {goal}{_verdict(value, goal)} |")
    return [*lines, ""]


def _verdict(value: float | None, goal: str) -> str:
    if not goal or value is None:
        return ""
    relation, limit = goal.split()
    reached = value >= float(limit) if relation == ">=" else value <= float(limit)
    return ": reached" if reached else ": **missed**"


def _curve(points: list[dict[str, float]], picture: Path | None) -> list[str]:
    lines = ["| tasks in the job | tasks/s | manager CPU per task, ms | manager memory, MiB |", "|---|---|---|---|"]
    lines += [
        f"| {point['size']:,} | {point['tasks_per_s']:.0f} | {point['manager_cpu_ms']:.2f} | {point['manager_rss_mib']:.0f} |"
        for point in points
    ]
    if picture is not None and _draw(points, picture):
        lines += ["", "![Cost per task against the number of tasks in the job](images/cost-per-task.svg)"]
    return [*lines, ""]


def _draw(points: list[dict[str, float]], picture: Path) -> bool:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture is drawn")
        return False
    sizes = [point["size"] for point in points]
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(sizes, [1000 / point["tasks_per_s"] for point in points], "o-", label="elapsed, 4 at once")
    axes.plot(sizes, [point["manager_cpu_ms"] for point in points], "s--", label="CPU of the manager")
    axes.set(xscale="log", xlabel="tasks in the job", ylabel="ms per task")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None})
    return True


def _range(rates: list[float | None]) -> str:
    measured = [rate for rate in rates if rate is not None]
    if not measured:
        return "not installed"
    return f"{statistics.median(measured):.0f} ({min(measured):.0f} to {max(measured):.0f})"
