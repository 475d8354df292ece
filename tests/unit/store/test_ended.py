"""Marks of ended jobs."""

from __future__ import annotations

import pytest

from air_executor.errors import InvalidNameError
from air_executor.store.ended import ended_names, forget_ended, mark_ended
from air_executor.store.root import Root


def test_a_mark_is_there_until_it_is_forgotten(root: Root) -> None:
    for name in ("a", "b", "a"):
        mark_ended(root, name)
    assert sorted(ended_names(root)) == ["a", "b"]
    assert (root.ended / "a").stat().st_mode & 0o777 == 0o600
    forget_ended(root, "a")
    forget_ended(root, "a")
    assert ended_names(root) == ["b"]


def test_hostile_names_and_links_are_refused(root: Root) -> None:
    with pytest.raises(InvalidNameError):
        mark_ended(root, "../up")
    with pytest.raises(InvalidNameError):
        forget_ended(root, "..")
    (root.ended / "link").symlink_to("../elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        mark_ended(root, "link")
    assert not (root.path / "elsewhere").exists()
