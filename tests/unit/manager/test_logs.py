"""One record, one line, whatever a task puts into it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_executor.manager.logs import OneLineFormatter, set_up_logging
from air_executor.store.root import Root


def formatted(message: str, *args: object) -> str:
    record = logging.LogRecord("air_executor.x", logging.WARNING, "file", 1, message, args, None)
    return OneLineFormatter().format(record)


def test_a_record_is_readable() -> None:
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING job näïve: failed", formatted("job %s: failed", "näïve")
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[2Jx", r"\x1b[2Jx"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x85\u2028\u2029", r"\x85\u2028\u2029"),
        ("\u202egnp", r"\u202egnp"),
        ("\udc80", r"\udc80"),
    ],
)
def test_what_could_forge_a_line_or_move_the_cursor_is_escaped(text: str, shown: str) -> None:
    assert formatted("%s", text).endswith(f"WARNING {shown}")


@given(st.text())
def test_every_record_is_one_printable_line(text: str) -> None:
    line = formatted("%s", text)
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_traceback_is_one_line_too() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "oops", (), (type(error), error, error.__traceback__))
    assert len(OneLineFormatter().format(record).splitlines()) == 1


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("air_executor")
    before, level = list(logger.handlers), logger.level
    yield logger
    for handler in logger.handlers:
        if handler not in before:
            handler.close()
    logger.handlers[:] = before
    logger.setLevel(level)


def test_the_file_is_private_and_what_is_there_stays(root: Root, logger: logging.Logger) -> None:
    root.manager_log.write_text("earlier\n")
    root.manager_log.unlink()
    set_up_logging(root, verbose=False, in_background=True)
    logger.debug("hidden")
    logger.info("shown %s", "\udc80")
    assert root.manager_log.stat().st_mode & 0o777 == 0o600
    [line] = root.manager_log.read_text().splitlines()
    assert line.endswith(r"INFO    shown \udc80")


def test_it_never_writes_through_a_link(root: Root, logger: logging.Logger) -> None:
    victim = root.path / "victim"
    victim.write_text("mine")
    root.manager_log.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        set_up_logging(root, verbose=False, in_background=True)
    assert victim.read_text() == "mine"
