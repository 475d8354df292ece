"""Says of the footprints of a long run what grew: a fit over the second half, against a tolerance."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

from benchmarks.footprint import Footprint
from benchmarks.report import show_verdict

_MEMORY_TOLERANCE_MIB = 0.1
_COUNT_TOLERANCE = 0.5
_ENOUGH_TASKS = 2000
"""Before that many, what is still warming up looks like growth."""
_NOT_JUDGED = {
    "manager.log, KiB": "none: rotates at 10 MiB, three old ones are kept",
    "spools of fork servers, KiB": "none: renewed with its server after 50,000 tasks",
}
_NONE_MAY_BE = ("finished jobs beyond their time",)
"""One in thousands is too few for a fit, and one too many."""
_PROGRAM_FILES = "none: others share them"


def growth_per_1000(tasks: Sequence[int], values: Sequence[float]) -> float:
    """Return by how much values grow per 1,000 tasks in the second half: the median of the slopes between all pairs.

    One value that is out of line, as when the machine was busy with other things, does not move it.
    """
    points = list(zip(tasks, values, strict=True))[len(tasks) // 2 :]
    slopes = [(b - a) / (n - m) * 1000 for (m, a), (n, b) in itertools.combinations(points, 2) if n != m]
    return statistics.median(slopes) if slopes else 0.0


def tolerance_of(what: str) -> float | None:
    """Return the growth per 1,000 tasks that counts as none; None where growth is not judged."""
    if what in _NOT_JUDGED or "program files" in what:
        return None
    return _MEMORY_TOLERANCE_MIB if what.endswith("MiB") else _COUNT_TOLERANCE


def render(tasks: Sequence[int], samples: Sequence[Footprint], head: str) -> str:
    """Return the table and the verdict.

    :param tasks: how many had run at each sample.
    :param head: what ran, for the first cell.
    """
    lines = [f"| {head} | after warming up | at the end | per 1,000 tasks | tolerance |", "|---|---|---|---|---|"]
    for what, growth in _fit_all(tasks, samples).items():
        first, last = samples[0][what], samples[-1].get(what, 0.0)
        lines.append(f"| {what} | {_show(first)} | {_show(last)} | {growth:+.2f} | {_show_tolerance(what)} |")
    faults = find_faults(tasks, samples)
    verdict = show_verdict(not faults) if faults or tasks[-1] >= _ENOUGH_TASKS else "not told, too few tasks"
    lines.append(f"goal: no growth: {verdict}{' (' + ', '.join(faults) + ')' if faults else ''}")
    return "\n".join(lines)


def find_faults(tasks: Sequence[int], samples: Sequence[Footprint]) -> list[str]:
    """Return what grows by more than its tolerance, and what is there although nothing of it may be."""
    faults = []
    for what, growth in _fit_all(tasks, samples).items():
        tolerance, last = tolerance_of(what), samples[-1].get(what, 0.0)
        if what in _NONE_MAY_BE:
            faults += [f"{what} {_show(last)}"] if last else []
        elif tolerance is not None and growth > tolerance and tasks[-1] >= _ENOUGH_TASKS:
            faults.append(f"{what} {growth:+.2f}")
    return faults


def _fit_all(tasks: Sequence[int], samples: Sequence[Footprint]) -> Footprint:
    return {what: growth_per_1000(tasks, [sample.get(what, 0.0) for sample in samples]) for what in samples[0]}


def _show_tolerance(what: str) -> str:
    if what in _NONE_MAY_BE:
        return "none may be there"
    tolerance = tolerance_of(what)
    return _NOT_JUDGED.get(what, _PROGRAM_FILES) if tolerance is None else f"{tolerance:g}"


def _show(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
