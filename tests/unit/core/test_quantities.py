from __future__ import annotations

import pytest

from air_executor.core.quantities import parse_duration_s, parse_size_bytes, show_duration, show_size


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
