"""How commands print: tables with colour on a terminal, plain in a pipe, and JSON."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click
import msgspec

COLOURS = {
    "waiting": "cyan",
    "pending": "cyan",
    "working": "blue",
    "running": "blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
}


def uses_colour(stream: TextIO) -> bool:
    """Claim that colour is welcome there: a terminal, and nobody said no (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour(word: str, stream: TextIO) -> str:
    """Return the name of a state in its colour."""
    return click.style(word, fg=COLOURS.get(word)) if uses_colour(stream) else word


def print_json(document: Any) -> None:
    """Print a document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def note(text: str) -> None:
    """Say something to the person, beside the output."""
    click.echo(text, err=True)


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> list[str]:
    """Return lines of a table; the last column is cut where a terminal ends, and states are coloured."""
    table = [tuple(columns), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(columns))]
    if stream.isatty():
        before = sum(widths[:-1]) + 2 * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(shutil.get_terminal_size().columns - before, 10))
    has_colour = uses_colour(stream)
    lines = []
    for number, row in enumerate(table):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        last = row[-1]
        cells.append(last if len(last) <= widths[-1] else last[: widths[-1] - 1] + "…")
        if has_colour and number == 0:
            cells = [click.style(cell, dim=True) for cell in cells]
        elif has_colour:
            cells = [_styled(cell) for cell in cells]
        lines.append("  ".join(cells).rstrip())
    return lines


def print_lines(lines: Sequence[str]) -> None:
    """Print lines at once: a reader of a pipe gets whole tables."""
    if lines:
        click.echo("\n".join(lines), color=uses_colour(sys.stdout))


def _styled(cell: str) -> str:
    word = cell.strip()
    return cell.replace(word, click.style(word, fg=COLOURS[word])) if word in COLOURS else cell
