"""The progress chart of a job, as a PNG or SVG file. Needs matplotlib (extra `plot`), which is imported when a chart is drawn."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from air_executor.core.quantities import show_duration
from air_executor.core.states import JobState, TaskStatus
from air_executor.core.timeline import Moment, thin, trace
from air_executor.errors import ChartError
from air_executor.store.files import temporary_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from air_executor.client import AirExecutorClient, JobView, TaskView

FORMATS = (".png", ".svg")
_MOST_MOMENTS = 600
_MOST_FAILURES = 400
_LONGEST_NAME = 64
_SHORTEST = timedelta(milliseconds=1)
_TIMES = ("%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S.%f")
"""Of ticks a year, month, day, hour, minute and second apart; zeros at the end go."""
_INK, _FAINT, _GRID = "#24292f", "#6e7781", "#d8dee4"
_COLOURS = {"completed": "#2da44e", "failed": "#cf222e", "unrun": "#b6bcc3", "running": "#0969da", "total": "#57606a"}
_STATE_COLOURS = {
    JobState.COMPLETED: _COLOURS["completed"],
    JobState.FAILED: _COLOURS["failed"],
    JobState.CANCELLED: "#9a6700",
}
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    # Text stays text, and the same job gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "air-executor",
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
}


def save_chart(client: AirExecutorClient, job_name: str, output: str | os.PathLike[str] | None = None) -> Path:
    """Draw the progress of a job, whatever its state, also of an archived one; return the absolute path of the file.

    :param output: a file that ends in .png or .svg; one that exists is replaced, whole or not at all.
        None: `<job>-progress.png` in the working directory.
    :raises JobNotFoundError: there is no such job.
    :raises ChartError: the file's name ends otherwise, or matplotlib is not installed.
    :raises OSError: the file cannot be written.
    """
    path = Path(f"{job_name}-progress.png" if output is None else output).absolute()
    check_format(path)
    job, tasks = client.job(job_name), client.tasks(job_name)
    try:
        import matplotlib
    except ImportError as error:
        raise ChartError(f"{error}: a chart needs matplotlib, run `pip install 'air-executor[plot]'`") from error
    aside = path.with_name(temporary_name(f".{path.name}"))
    try:
        with matplotlib.rc_context(_STYLE):
            figure = draw_chart(job, tasks, datetime.now(timezone.utc))
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
            figure.savefig(aside, format=path.suffix[1:].lower(), dpi=150, metadata=metadata)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def check_format(path: Path) -> None:
    """Check that a chart can be written to a file of this name.

    :raises ChartError: it ends neither in .png nor in .svg.
    """
    if path.suffix.lower() not in FORMATS:
        raise ChartError(f"{path}: a chart is a .png or .svg file; give it a name that ends so")


def draw_chart(job: JobView, tasks: Sequence[TaskView], now: datetime) -> Figure:
    """Return the figure; `save_chart` writes it."""
    # Not pyplot: it keeps every figure until it is closed, and chooses a backend that may want a display.
    from matplotlib.figure import Figure

    is_over = job.state.is_terminal
    moments = trace(tasks, job.updated_at if is_over else now)
    figure = Figure(figsize=(11, 6), facecolor="white")
    progress, running = figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": [3.4, 1], "hspace": 0.12})
    figure.subplots_adjust(left=0.075, right=0.955, top=0.8, bottom=0.095)
    for axes in (progress, running):
        _prepare(axes)
    if moments:
        drawn = thin(moments, _MOST_MOMENTS)
        _draw_progress(progress, drawn, may_grow=not is_over)
        _mark_failures(progress, [task.completed_at for task in tasks if task.status is TaskStatus.FAILED])
        progress.legend(loc="lower left", bbox_to_anchor=(-0.008, 1.0), ncols=5, frameon=False, labelcolor=_INK)
        _draw_running(running, drawn)
        _frame_time(progress, running, moments, is_over=is_over)
    else:
        for axes in (progress, running):
            axes.set_axis_off()
        progress.text(0.5, 0.4, "no tasks yet", transform=progress.transAxes, ha="center", color=_FAINT, fontsize=14)
    _head(figure, progress, job, moments)
    return figure


def _prepare(axes: Axes) -> None:
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", pad=7)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_progress(axes: Axes, moments: list[Moment], *, may_grow: bool) -> None:
    at: Any = [moment.at for moment in moments]
    base = [0] * len(moments)
    for name, label, width in (("completed", "Completed", 2.2), ("failed", "Failed", 1.0), ("unrun", "Not run", 1.0)):
        top = [below + getattr(moment, name) for below, moment in zip(base, moments, strict=True)]
        if name == "completed" or top != base:
            colour = _COLOURS[name]
            axes.fill_between(at, base, top, step="post", color=colour, alpha=0.22, linewidth=0)
            # What is completed stays in sight where few fail: its line lies above theirs.
            order = 3 - width / 10 if name != "completed" else 4
            axes.step(at, top, where="post", color=colour, linewidth=width, label=label, zorder=order)
        base = top
    total = [moment.total for moment in moments]
    label = "Total (may grow)" if may_grow or len(set(total)) > 1 else "Total"
    axes.step(
        at, total, where="post", color=_COLOURS["total"], linewidth=1.6, linestyle=(0, (4, 3)), label=label, zorder=4.5
    )
    _count_axis(axes, max(total), "Tasks", 6)


def _mark_failures(axes: Axes, instants: list[datetime | None]) -> None:
    at: Any = sorted(instant for instant in instants if instant is not None)
    if at:
        # All of very many marks would be one red bar, and a large file.
        at = at[:: -(-len(at) // _MOST_FAILURES)]
        axes.plot(
            at, [0] * len(at), linestyle="none", marker="|", markersize=9, markeredgewidth=1.3,
            color=_COLOURS["failed"], clip_on=False, zorder=5, label="A failure",
        )  # fmt: skip


def _draw_running(axes: Axes, moments: list[Moment]) -> None:
    at: Any = [moment.at for moment in moments]
    running = [moment.running for moment in moments]
    axes.fill_between(at, 0, running, step="post", color=_COLOURS["running"], alpha=0.3, linewidth=0)
    axes.step(at, running, where="post", color=_COLOURS["running"], linewidth=1)
    _count_axis(axes, max(running), "Running", 3)


def _count_axis(axes: Axes, most: int, label: str, ticks: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylabel(label)
    axes.set_ylim(0, max(most, 1) * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=ticks, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _frame_time(progress: Axes, running: Axes, moments: list[Moment], *, is_over: bool) -> None:
    from matplotlib import dates

    begin: Any = moments[0].at
    end: Any = max(moments[-1].at, begin + _SHORTEST)
    margin = (end - begin) * 0.01
    progress.set_xlim(begin - margin, end + margin)
    if not is_over:
        for axes in (progress, running):
            axes.axvline(end, color=_FAINT, linewidth=1, linestyle=":")
        progress.annotate(
            "now", (end, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="right", va="bottom", color=_FAINT, fontsize=9, annotation_clip=False,
        )  # fmt: skip
    locator: Any = dates.AutoDateLocator(tz=timezone.utc, minticks=4)  # type: ignore[no-untyped-call] # theirs
    formatter: Any = dates.ConciseDateFormatter(  # type: ignore[no-untyped-call] # theirs
        locator, tz=timezone.utc, formats=_TIMES, zero_formats=_TIMES, show_offset=False
    )
    running.xaxis.set_major_locator(locator)
    running.xaxis.set_major_formatter(formatter)
    running.set_xlabel(f"Time (UTC), {begin.astimezone(timezone.utc):%Y-%m-%d}")


def _head(figure: Figure, axes: Axes, job: JobView, moments: list[Moment]) -> None:
    name = job.name if len(job.name) <= _LONGEST_NAME else f"{job.name[:36]}…{job.name[-(_LONGEST_NAME - 37) :]}"
    # A name is no formula, whatever is in it.
    plain: dict[str, Any] = {"ha": "left", "parse_math": False}
    figure.text(
        0.022, 0.972, f"Air-Executor Progress: {name}", va="top", fontsize=15, weight="bold", color=_INK, **plain
    )
    colour = _STATE_COLOURS.get(job.state, _COLOURS["running"])
    state = figure.text(0.022, 0.917, job.state.value, va="top", fontsize=11, weight="bold", color=colour, **plain)
    axes.annotate(
        _summary(moments), (1, 0), xycoords=state, xytext=(10, 0), textcoords="offset points",
        va="bottom", fontsize=11, color=_FAINT, annotation_clip=False, **plain,
    )  # fmt: skip


def _summary(moments: list[Moment]) -> str:
    if not moments:
        return "0 tasks"
    last = moments[-1]
    seconds = (last.at - moments[0].at).total_seconds()
    ended = last.completed + last.failed + last.unrun
    parts = [f"{last.completed:,} of {last.total:,} {'task' if last.total == 1 else 'tasks'} completed"]
    for number, word in ((last.failed, "failed"), (last.unrun, "not run"), (last.running, "running")):
        if number:
            parts.append(f"{number:,} {word}")
    parts.append(show_duration(seconds))
    if ended > 1 and seconds > 0:
        parts.append(
            f"{ended / seconds:,.1f} tasks/s" if ended >= seconds else f"{ended / seconds * 60:,.1f} tasks/min"
        )
    return "  ·  ".join(parts)
