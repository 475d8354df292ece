"""Names become parts of paths: what passes is harmless there, and the rule is named for what does not pass."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_executor.core.names import check_job_name, check_task_id, is_plain_name, make_safe
from air_executor.errors import InvalidNameError
from air_executor.store.root import file_stem


@pytest.mark.parametrize(
    "name",
    ["a", "my-job", "airflow-manual__2025-10-02T07:30:00+00:00", "a" * 200, ".hidden", "..a", "~", "-", "v1.0+x"],
)
def test_names_of_jobs_that_are_allowed(name: str) -> None:
    assert check_job_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "...", "a/b", "../x", "/etc", "a b", "a\n", "\n", "a\0", "ü", "a" * 201, "a\x1b[31m", "a\\b", "*"],
)
def test_names_of_jobs_that_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidNameError, match=r"letters, digits and `_ \. ~ : \+ -`, at most 200 bytes"):
        check_job_name(name)


@given(st.text(max_size=250))
def test_an_allowed_name_stays_below_its_directory(name: str) -> None:
    try:
        check_job_name(name)
    except InvalidNameError:
        return
    path = PurePosixPath("/root/jobs") / name
    assert path.parent == PurePosixPath("/root/jobs")
    assert path.name == name
    assert name.isascii()
    assert len(name) <= 200


@given(st.text(alphabet="abAB09_.~:+-", min_size=1, max_size=200))
def test_every_name_of_the_documented_characters_is_allowed_unless_it_is_all_dots(name: str) -> None:
    assert is_plain_name(name) == (not re.fullmatch(r"\.+", name))


@given(st.text(max_size=300), st.integers(min_value=1, max_value=100))
def test_made_safe_a_text_is_short_and_plain(text: str, limit: int) -> None:
    safe = make_safe(text, limit)
    assert len(safe) <= limit
    assert is_plain_name(f"x{safe}")


@pytest.mark.parametrize("task_id", ["process-customers/a b.csv", "ä", "..", "a" * 200, "$(rm)"])
def test_task_ids_may_hold_anything_printable(task_id: str) -> None:
    assert check_task_id(task_id) == task_id


@pytest.mark.parametrize("task_id", ["", "a\nb", "\x1b", "\0", "a" * 201, "ä" * 101, "\ud800", "\u202e"])
def test_task_ids_that_are_empty_long_or_hold_controls_are_refused(task_id: str) -> None:
    with pytest.raises(InvalidNameError, match="printable"):
        check_task_id(task_id)


@given(st.text(max_size=200))
def test_the_stem_of_a_task_id_can_stand_in_a_path(task_id: str) -> None:
    stem = file_stem(task_id)
    assert "/" not in stem
    assert len(f"{stem}.2147483648.log".encode()) <= 255
    assert task_id == "" or is_plain_name(stem)


@given(st.lists(st.text(alphabet="ab./1 ", min_size=1, max_size=12), min_size=2, max_size=20, unique=True))
def test_no_two_tasks_share_a_log(task_ids: list[str]) -> None:
    logs = {f"{file_stem(task_id)}.{attempt}.log" for task_id in task_ids for attempt in (1, 11, 111)}
    assert len(logs) == 3 * len(task_ids)
