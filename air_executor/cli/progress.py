"""How far a job is: a live bar on a terminal, single lines elsewhere. Written to standard error, so that output stays clean."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import click

from air_executor.core.progress import ENDED_STATUSES, Rate, count_ended
from air_executor.core.quantities import show_duration
from air_executor.core.states import TaskStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

    from air_executor.client import JobView

_LINE_PAUSE_S = 10.0


class ProgressDisplay(Protocol):
    """What shows how far a job is."""

    def __enter__(self) -> ProgressDisplay:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what was live is removed."""
        ...

    def show(self, view: JobView) -> None:
        """Show the job as it is now."""
        ...

    def say(self, text: str) -> None:
        """Tell the person something that stays."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Keep the terminal free for output."""
        ...


def make_progress(*, is_quiet: bool = False) -> ProgressDisplay:
    """Return the progress that fits where standard error goes."""
    if is_quiet:
        return _Silent()
    return _Bar() if sys.stderr.isatty() else _Lines()


def describe_counts(view: JobView, rate: Rate) -> str:
    """Return counts, rate and time left in a line."""
    total, ended = view.tasks.get("total", 0), count_ended(view.tasks)
    texts = [f"{ended}/{total}"]
    shown = ["running", *(status.value for status in ENDED_STATUSES if status is not TaskStatus.COMPLETED)]
    texts += [f"{view.tasks[status]} {status}" for status in shown if view.tasks.get(status)]
    per_second, left_s = rate.per_second(), rate.left_s(total - ended)
    if per_second is not None:
        texts.append(f"{per_second:.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s")
    if left_s is not None and ended < total:
        texts.append(f"{show_duration(left_s)} left")
    return ", ".join(texts)


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, view: JobView) -> None:  # noqa: ARG002 # nothing is shown
        return None

    def say(self, text: str) -> None:  # noqa: ARG002 # as above
        return None

    def paused(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class _Lines(_Silent):
    """For pipes and logs: a line now and then, so that a reader of a log sees that it goes on."""

    def __init__(self) -> None:
        self._rate = Rate()
        self._next = time.monotonic() + _LINE_PAUSE_S

    def show(self, view: JobView) -> None:
        now = time.monotonic()
        self._rate.note(now, count_ended(view.tasks))
        if now >= self._next and not view.state.is_terminal:
            self._next = now + _LINE_PAUSE_S
            click.echo(f"job {view.name}: {describe_counts(view, self._rate)}", err=True)

    def say(self, text: str) -> None:
        click.echo(text, err=True)


class _Bar:
    """For terminals: one line that is drawn anew."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._rate = Rate()
        self._started = time.monotonic()
        self._view: JobView | None = None
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> _Bar:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, view: JobView) -> None:
        self._rate.note(time.monotonic(), count_ended(view.tasks))
        self._view = view

    def say(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.from_ansi(text))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def _render(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        view = self._view
        if view is None:
            return Text("")
        grid = Table.grid(padding=(0, 1))
        total, ended = view.tasks.get("total", 0), count_ended(view.tasks)
        style = "red" if view.tasks.get("failed") else "green"
        elapsed = show_duration(time.monotonic() - self._started)
        grid.add_row(
            Text(view.name, overflow="ellipsis", no_wrap=True),
            ProgressBar(total=max(total, 1), completed=ended, width=24, complete_style=style, finished_style=style),
            Text(f"{describe_counts(view, self._rate)}, {elapsed}", no_wrap=True),
        )
        return grid
