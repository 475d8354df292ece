"""Turns the numbers of all rounds and executors into Markdown: one table of figures and goals, one of CPU time by role."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.executors import EXECUTORS, OURS, PARALLELISM
from benchmarks.report import show_range, show_verdict

BEGIN = "<!-- measured: written by make bench -->"
END = "<!-- end of what make bench writes -->"

ROLES = ("scheduler", "manager or worker", "supervisor", "task", "API server")
_OUTSIDE_GOALS = ("API server", "triggerer")

Rounds = list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One figure of the table, and the goal that it is held against."""

    what: str
    values: Callable[[Rounds], list[float]]
    goal: str = ""
    is_met: Callable[[float, float | None], bool | None] | None = None
    """Told the medians of this project's executor and of LocalExecutor; None cannot be told."""
    has_ratio: bool = True
    """Whether the verdict tells the ratio to LocalExecutor, which holds from machine to machine better than the number does."""


def plain(key: str) -> Callable[[Rounds], list[float]]:
    """Return how to read one number per round."""
    return lambda rounds: [numbers[key] for numbers in rounds if numbers.get(key) is not None]


def cpu_ms(key: str) -> Callable[[Rounds], list[float]]:
    """Return how to read the CPU time per task of scheduler, executor and task processes."""
    return lambda rounds: [
        sum(spent for role, spent in numbers[key].items() if role not in _OUTSIDE_GOALS)
        for numbers in rounds
        if key in numbers
    ]


def role_ms(key: str, role: str) -> Callable[[Rounds], list[float]]:
    """Return how to read the CPU time per task of one role."""
    return lambda rounds: [numbers[key][role] for numbers in rounds if key in numbers]


def _waits(percent: int) -> Callable[[Rounds], list[float]]:
    """Return how to read one percentile of each round's waits."""

    def read(rounds: Rounds) -> list[float]:
        waits = [sorted(numbers["queued_to_started_ms"]) for numbers in rounds if "queued_to_started_ms" in numbers]
        if percent == 50:
            return [statistics.median(each) for each in waits]
        return [each[min(int(len(each) * percent / 100), len(each) - 1)] for each in waits]

    return read


def _pandas_over_true(rounds: Rounds) -> list[float]:
    heavy, light = cpu_ms("pandas_cpu_ms")(rounds), cpu_ms("true_cpu_ms")(rounds)
    return [a / b for a, b in zip(heavy, light, strict=True) if b] if len(heavy) == len(light) else []


def _times_local(limit: float) -> Callable[[float, float | None], bool | None]:
    return lambda ours, local: None if not local else ours / local >= limit


def _part_of_local(limit: float) -> Callable[[float, float | None], bool | None]:
    return lambda ours, local: None if not local else ours / local <= limit


def _at_most(limit: float) -> Callable[[float, float | None], bool | None]:
    return lambda ours, _: ours <= limit


ROWS = (
    Row("{width} `true` side by side, tasks/s", plain("tasks_per_s"), ">= 1.6 x LocalExecutor", _times_local(1.6)),
    Row("chain of {length} `true`, s", plain("chain_s"), "<= 1/7 of LocalExecutor", _part_of_local(1 / 7)),
    Row("{heavy} tasks, pandas in the file, s", plain("pandas_s"), "<= 1/10 of LocalExecutor", _part_of_local(1 / 10)),
    Row("{heavy} tasks, Amazon provider in the file, s", plain("provider_s")),
    Row("chain of {steps} `true`, file that takes 2 s of CPU to parse, s", plain("slow_parse_s")),
    Row("queued to started, idle, p50 ms", _waits(50), "<= 11", _at_most(11)),
    Row("queued to started, idle, p95 ms", _waits(95)),
    Row("CPU per `true` task, ms", cpu_ms("true_cpu_ms"), "<= 50", _at_most(50)),
    Row("the same with pandas in the file, ms", cpu_ms("pandas_cpu_ms")),
    Row("the same, times that without", _pandas_over_true, "<= 1.3", _at_most(1.3), has_ratio=False),
    Row("the same with the Amazon provider, ms", cpu_ms("provider_cpu_ms")),
    Row("memory, idle after work, MiB", plain("idle_mib"), "<= 120", _at_most(120)),
    Row("processes, idle after work", plain("idle_processes")),
    Row("memory, idle after work, pandas and a provider preloaded, MiB", plain("idle_loaded_mib")),
    Row("memory, warm parent retired, MiB", plain("retired_mib"), "<= 40", _at_most(40)),
    Row("memory per running task, {parallelism} at once, MiB", plain("running_mib"), "<= 18", _at_most(18)),
    Row("of it added to idle, MiB", plain("added_mib")),
    Row(
        "slots held, {parallelism} running",
        plain("held_slots"),
        "all",
        lambda ours, _: ours == PARALLELISM,
        has_ratio=False,
    ),
)


def render(result: dict[str, Any], pictures: Sequence[tuple[str, str]]) -> str:
    """Return the tables of one result as Markdown.

    :param pictures: what each shows, and its path from the page.
    """
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    rounds = max((len(each) for each in result["rounds"].values()), default=0)
    lines = [
        f"Measured {result['at']}: {machine}.",
        "",
        f"{rounds} round{'s' if rounds != 1 else ''} each in shuffled order, parallelism {PARALLELISM}: median (lowest to highest).",
        "",
    ]
    lines += _figures(result)
    lines += _unavailable(result)
    lines += _cpu_by_role(result)
    lines += [line for what, path in pictures for line in (f"![{what}]({path})", "")]
    lines += _notes(result)
    return "\n".join(lines)


def measured_keys(result: dict[str, Any]) -> list[str]:
    """Return the executors that have numbers."""
    return [key for key in EXECUTORS if result["rounds"].get(key)]


def judge(row: Row, rounds: dict[str, Rounds]) -> str:
    """Return the goal of a row, with a verdict for each way in which this project's executor was measured."""
    local = row.values(rounds.get("local", []))
    verdicts = []
    for key in OURS:
        ours = row.values(rounds.get(key, []))
        if row.is_met is None or not ours:
            continue
        is_met = row.is_met(statistics.median(ours), statistics.median(local) if local else None)
        if is_met is None:
            return f"{row.goal}: not told, without LocalExecutor"
        ratio = f" ({statistics.median(ours) / statistics.median(local):.2f} x)" if local and row.has_ratio else ""
        # What tells the name from the plain one's.
        way = EXECUTORS[key].name.partition(", ")[2]
        verdicts.append(f"{f'{way} ' if way else ''}{show_verdict(is_met)}{ratio}")
    return f"{row.goal}: {', '.join(verdicts)}" if verdicts else row.goal


def _figures(result: dict[str, Any]) -> list[str]:
    keys = measured_keys(result)
    lines = [
        "| | " + " | ".join(EXECUTORS[key].name for key in keys) + " | goal |",
        "|---|" + "---|" * (len(keys) + 1),
    ]
    sizes = {**result["sizes"], "parallelism": PARALLELISM}
    for row in ROWS:
        cells = [row.values(result["rounds"][key]) for key in keys]
        if any(cells):
            shown = " | ".join(map(show_range, cells))
            lines.append(f"| {row.what.format(**sizes)} | {shown} | {judge(row, result['rounds'])} |")
    return [*lines, ""]


def _unavailable(result: dict[str, Any]) -> list[str]:
    if not result["unavailable"]:
        return []
    lines = [f"- **{EXECUTORS[key].name}**: {_one_line(reason)}" for key, reason in result["unavailable"].items()]
    return ["Not, or not wholly, measured:", "", *lines, ""]


def _cpu_by_role(result: dict[str, Any]) -> list[str]:
    lines = []
    for key, what in (("true_cpu_ms", "`true`"), ("pandas_cpu_ms", "pandas in the file")):
        for name in measured_keys(result):
            rounds = result["rounds"][name]
            parts = [role_ms(key, role)(rounds) for role in ROLES]
            if all(parts):
                shown = " | ".join(f"{statistics.median(part):.1f}" for part in parts)
                lines.append(f"| {EXECUTORS[name].name}, {what} | {shown} |")
    if not lines:
        return []
    head = [
        "CPU per task by process, ms, medians:",
        "",
        "| | " + " | ".join(ROLES) + " |",
        "|---|" + "---|" * len(ROLES),
    ]
    return [*head, *lines, ""]


def _notes(result: dict[str, Any]) -> list[str]:
    versions = "; ".join(
        f"{EXECUTORS[key].name}: {', '.join(f'{name} {version}' for name, version in found.items())}"
        for key, found in result["versions"].items()
    )
    files = result["job_files"]
    return [
        f"Installed: {versions}.",
        "",
        (
            "Calls that the scheduler makes for AirExecutorExecutor, in a loop of their own: submitting a job takes "
            f"{files['submit_cpu_ms']:.2f} ms CPU ({files['submit_wall_ms']:.2f} ms), "
            f"reading back how it ended {files['read_cpu_ms']:.2f} ms CPU."
        ),
        "",
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
