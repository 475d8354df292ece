"""`--watch`: the same output again and again, drawn over the last one on a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

import click

from air_executor.cli.output import print_lines

_PAUSE_S = 1.0
_HOME, _CLEAR_LINE, _CLEAR_BELOW, _CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[H\x1b[2J"

watch_option = click.option(
    "-w", "--watch", "must_watch", is_flag=True, help="Show it again whenever it changes, until Ctrl-C."
)


def show(lines: Callable[[], list[str]], *, must_watch: bool) -> None:
    """Print what `lines` returns, once or until Ctrl-C."""
    if not must_watch:
        print_lines(lines())
        return
    last: list[str] | None = None
    try:
        while True:
            current = lines()
            if current != last:
                _draw(current, is_first=last is None)
                last = current
            time.sleep(_PAUSE_S)
    except KeyboardInterrupt:
        return


def _draw(lines: list[str], *, is_first: bool) -> None:
    if not sys.stdout.isatty():
        print_lines([*lines, ""])
        return
    # Line by line over the old ones: clearing the screen each time would flicker.
    height = max(shutil.get_terminal_size().lines - 1, 1)
    text = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines[:height])
    sys.stdout.write((_CLEAR if is_first else _HOME) + text + _CLEAR_BELOW)
    sys.stdout.flush()
