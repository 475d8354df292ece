from __future__ import annotations

import pytest

from air_executor.cli.quantities import (
    parse_duration_s,
    parse_size_bytes,
    show_command,
    show_duration,
    show_plain,
    show_size,
    split_error,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1w", 604800), ("1h30m", 5400)],
)
def test_durations_are_seconds_or_have_units(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "5y", "-1", "1h30", "h", "1 h 2", "inf", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1000", 1000), ("1k", 1024), ("512M", 512 * 1024**2), ("1.5G", 3 * 1024**3 // 2), ("2GiB", 2 * 1024**3)],
)
def test_sizes_are_bytes_or_have_units(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "5X", "-5M", "5MM"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0s"), (3.21, "3.2s"), (42, "42s"), (125, "2m 05s"), (3725, "1h 02m"), (200000, "2d 07h")],
)
def test_durations_are_shown_in_two_units(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_sizes_are_shown_with_a_unit() -> None:
    assert [show_size(size) for size in (12, 1536, 3 * 1024**3)] == ["12 B", "1.5 KiB", "3.0 GiB"]


def test_a_terminal_is_not_told_what_to_do() -> None:
    assert show_plain("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert show_command("echo", ("a b", "\x07")) == "echo 'a b' '\\x07'"


def test_an_error_is_split_into_cause_and_quoted_lines() -> None:
    assert split_error("exit code 1; last lines: one\ntwo") == ("exit code 1", ["one", "two"])
    assert split_error(None) == ("", [])
