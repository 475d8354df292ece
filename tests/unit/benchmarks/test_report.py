from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import show_range, write_into


def test_text_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<b>\nold\n<e>\nafter\n")
    write_into(page, "new\n", "<b>", "<e>")
    assert page.read_text() == "before\n<b>\nnew\n<e>\nafter\n"
    write_into(page, "newer", "<b>", "<e>")
    assert page.read_text() == "before\n<b>\nnewer\n<e>\nafter\n"


@pytest.mark.parametrize("text", ["", "<b>", "<e>", "<e> <b>"])
def test_page_without_both_markers_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="markers"):
        write_into(page, "new", "<b>", "<e>")
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], "-"),
        ([32, 32], "32"),
        ([0.0], "0"),
        ([1.234, 1.231], "1.23"),
        ([14.52, 15.11, 13.0], "14.5 (13.0 to 15.1)"),
        ([110.4, 99.0, 120.0], "110 (99 to 120)"),
    ],
)
def test_median_is_shown_with_the_range_where_it_shows(values: list[float], shown: str) -> None:
    assert show_range(values) == shown
