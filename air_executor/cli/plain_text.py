"""Instants, commands and errors in lines for people, without what a terminal would obey."""

from __future__ import annotations

import shlex
from datetime import datetime


def show_instant(instant: datetime) -> str:
    """Return an instant in local time, to the second."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


def show_command(command: str, args: tuple[str, ...]) -> str:
    """Return a command line that a shell would split alike, in one line."""
    return show_plain(shlex.join((command, *args)))


def show_plain(text: str) -> str:
    """Return text in one line without what a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def split_error(error: str | None) -> tuple[str, list[str]]:
    """Return the cause that an error names, in a line, and the last lines of output that it quotes."""
    cause, _, quoted = (error or "").partition("; last lines: ")
    return show_plain(cause.strip()), [show_plain(line) for line in quoted.splitlines()]


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
