"""Draws the numbers of all executors as SVG pictures that read well on light and dark pages."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.executors import EXECUTORS, OURS, PARALLELISM
from benchmarks.side_by_side_report import ROLES, measured_keys, plain, role_ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by people who do not see all colours (Okabe and Ito).
_OUR_COLOUR, _THEIR_COLOUR = "#0072B2", "#999999"
_ROLE_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#999999")

_SPEED = (
    ("tasks_per_s", "{width} true side by side\ntasks/s, more is better"),
    ("chain_s", "chain of {length} true\nseconds, less is better"),
    ("pandas_s", "{heavy} tasks, pandas in the file\nseconds, less is better"),
    ("provider_s", "{heavy} tasks, Amazon provider\nseconds, less is better"),
)
_MEMORY = (
    ("idle_mib", "idle after work\nMiB of executor processes"),
    ("running_mib", "{parallelism} tasks running\nMiB per task"),
)


def draw_all(result: dict[str, Any], directory: Path) -> list[tuple[str, str]]:
    """Draw what there are numbers for; return what each picture shows and its path from the page.

    Draws nothing where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        print("matplotlib is not installed: no pictures are drawn")
        return []
    # The same numbers give the same file, so that a page changes only with them.
    mpl.rcParams["svg.hashsalt"] = "air-executor"
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, what, figure in (
        ("executors-speed", "Speed of the executors", _draw_bars(result, _SPEED)),
        ("executors-memory", "Memory of the executors", _draw_bars(result, _MEMORY)),
        ("executors-cpu", "CPU time per task of the executors, by process", _draw_cpu(result)),
    ):
        if figure is not None:
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None}, facecolor="white")
            drawn.append((what, f"{directory.name}/{name}.svg"))
    return drawn


def _draw_bars(result: dict[str, Any], panels: Sequence[tuple[str, str]]) -> Figure | None:
    keys = measured_keys(result)
    found = [(key, title) for key, title in panels if any(plain(key)(result["rounds"][name]) for name in keys)]
    if not found:
        return None
    figure, places = _subplots(len(found), 0.45 * len(keys) + 1.3)
    sizes = {**result["sizes"], "parallelism": PARALLELISM}
    for axes, (key, title) in zip(places, found, strict=True):
        for place, name in enumerate(keys):
            values = plain(key)(result["rounds"][name])
            if not values:
                continue
            middle = statistics.median(values)
            spread = [[middle - min(values)], [max(values) - middle]]
            axes.barh(
                place,
                middle,
                color=_OUR_COLOUR if name in OURS else _THEIR_COLOUR,
                xerr=spread,
                ecolor="#333333",
                capsize=2,
            )
            axes.annotate(
                f"{middle:.0f}" if middle >= 100 else f"{middle:.3g}",
                (max(values), place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_title(title.format(**sizes), fontsize=9, loc="left")
        _label(axes, [EXECUTORS[name].name for name in keys])
    return figure


def _draw_cpu(result: dict[str, Any]) -> Figure | None:
    panels = (("true_cpu_ms", "true, ms of CPU per task"), ("pandas_cpu_ms", "pandas in the file, ms of CPU per task"))
    keys = measured_keys(result)
    found = [(key, title) for key, title in panels if any(key in n for name in keys for n in result["rounds"][name])]
    if not found:
        return None
    figure, places = _subplots(len(found), 0.45 * len(keys) + 1.8)
    for axes, (key, title) in zip(places, found, strict=True):
        for place, name in enumerate(keys):
            left = 0.0
            for role, colour in zip(ROLES, _ROLE_COLOURS, strict=True):
                values = role_ms(key, role)(result["rounds"][name])
                part = max(statistics.median(values), 0) if values else 0.0
                axes.barh(place, part, left=left, color=colour, label=role if place == 0 else None)
                left += part
            axes.annotate(
                f"{left:.0f}", (left, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set_title(title, fontsize=9, loc="left")
        _label(axes, [EXECUTORS[name].name for name in keys])
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(ROLES), fontsize=8, frameon=False)
    return figure


def _subplots(count: int, row_height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(9, row_height * rows), layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in places[count:]:
        axes.set_axis_off()
    return figure, places[:count]


def _label(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
