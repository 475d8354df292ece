"""Finished jobs leave jobs/ by age and by number, and what kills left in tmp/ goes."""

from __future__ import annotations

import os
import time

import pytest

from air_executor.manager.retention import Retention
from air_executor.manager.settings import ManagerSettings
from air_executor.store.archive import remove_leftovers
from air_executor.store.ended import ended_names, forget_ended, mark_ended
from air_executor.store.root import Root


@pytest.fixture
def active() -> set[str]:
    return set()


@pytest.fixture
def retention(root: Root, active: set[str]) -> Retention:
    return Retention(root, active.__contains__)


def finish(root: Root, retention: Retention, name: str, age_s: float, announce: bool = False) -> None:
    directory = root.jobs / name
    (directory / "logs").mkdir(parents=True, mode=0o700)
    path = directory / "state.json"
    path.write_text(f'{{"state": "completed", "options": {{"announce": {str(announce).lower()}}}}}')
    os.utime(path, (time.time() - age_s,) * 2)
    (directory / "journal").write_text("what happened")
    retention.note_found(name)


def test_old_jobs_of_people_are_archived(root: Root, retention: Retention) -> None:
    finish(root, retention, "old", 1000)
    finish(root, retention, "young", 10)
    retention.apply(ManagerSettings(archive_after_s=100))
    assert root.job_names() == ["young"]
    assert (root.archived_job("old") / "state.json").exists()


def test_old_jobs_of_executors_are_removed_with_their_marks(root: Root, retention: Retention) -> None:
    for name, age_s, is_marked in (
        ("old", 1000, False),
        ("awaited", 1000, True),
        ("forgotten", 10**6, True),
        ("young", 10, False),
    ):
        finish(root, retention, name, age_s, announce=True)
        if is_marked:
            mark_ended(root, name)
    retention.apply(ManagerSettings(keep_announced_s=100))
    # An executor may still come for the end of the one that is awaited; nobody came for the forgotten one in days.
    assert sorted(root.job_names()) == ["awaited", "young"]
    assert ended_names(root) == ["awaited"]
    assert not root.archived_job("old").exists()


def test_no_more_than_so_many_stay(root: Root, retention: Retention) -> None:
    for number in range(5):
        finish(root, retention, f"j{number}", 50 - number)
    retention.apply(ManagerSettings(keep_finished_jobs=2))
    assert sorted(root.job_names()) == ["j3", "j4"]


def test_many_are_moved_in_portions(root: Root, retention: Retention) -> None:
    for number in range(250):
        finish(root, retention, f"j{number}", 1000)
    assert retention.apply(ManagerSettings(archive_after_s=0)) is True
    assert len(root.job_names()) == 50
    assert retention.apply(ManagerSettings(archive_after_s=0)) is False
    assert root.job_names() == []


def test_a_job_that_goes_on_stays(root: Root, retention: Retention, active: set[str]) -> None:
    finish(root, retention, "again", 1000)
    active.add("again")
    retention.apply(ManagerSettings(archive_after_s=0))
    assert root.job_names() == ["again"]


def test_a_job_that_somebody_removed_is_no_matter(root: Root, retention: Retention) -> None:
    finish(root, retention, "gone", 1000)
    (root.jobs / "gone").rename(root.path / "elsewhere")
    retention.apply(ManagerSettings(archive_after_s=0))
    assert not root.archived_job("gone").exists()


def test_only_the_newest_ends_are_announced_again(root: Root, retention: Retention) -> None:
    for name, age_s, announce in (("old", 100, True), ("new", 10, True), ("newest", 9.5, True), ("mine", 1, False)):
        finish(root, retention, name, age_s, announce)
    retention.announce_again()
    assert sorted(ended_names(root)) == ["new", "newest"]


def test_without_ends_nothing_is_announced(root: Root, retention: Retention) -> None:
    retention.announce_again()
    assert ended_names(root) == []


def test_only_old_leftovers_are_removed(root: Root) -> None:
    (root.tmp / "directory").mkdir()
    (root.tmp / "directory" / "file").write_text("x")
    for path in (root.tmp / "old", root.tmp / "young", root.requests / "a.refused", root.requests / "a.json"):
        path.write_text("x")
    (root.tmp / "link").symlink_to(root.jobs)
    for path in (
        root.tmp / "directory",
        root.tmp / "old",
        root.requests / "a.refused",
        root.requests / "a.json",
        root.tmp / "link",
    ):
        os.utime(path, (1, 1), follow_symlinks=False)
    remove_leftovers(root)
    assert [path.name for path in root.tmp.iterdir()] == ["young"]
    assert [path.name for path in root.requests.iterdir()] == ["a.json"]
    assert root.jobs.is_dir()


def test_an_announced_job_stays_while_somebody_may_come_for_it(root: Root, retention: Retention) -> None:
    finish(root, retention, "waited-for", 1000, announce=True)
    finish(root, retention, "taken", 1000, announce=True)
    for name in ("waited-for", "taken"):
        mark_ended(root, name)
    forget_ended(root, "taken")
    for settings in (ManagerSettings(keep_announced_s=0), ManagerSettings(keep_announced_jobs=0)):
        retention.apply(settings)
        assert root.job_names() == ["waited-for"]
        assert ended_names(root) == ["waited-for"]


@pytest.mark.parametrize("announce", [True, False])
def test_a_job_that_ended_again_is_judged_by_its_newest_end(
    root: Root, retention: Retention, active: set[str], announce: bool
) -> None:
    settings = ManagerSettings(archive_after_s=100, keep_announced_s=100)
    finish(root, retention, "again", 1000, announce)
    active.add("again")
    retention.note("again", time.time() - 10, is_announced=announce)
    active.discard("again")
    retention.apply(settings)
    assert root.job_names() == ["again"]


def test_a_job_that_ended_again_is_counted_once(root: Root, retention: Retention) -> None:
    for name in ("first", "again"):
        finish(root, retention, name, 50)
    for age_s in (40, 30, 20):
        retention.note("again", time.time() - age_s, is_announced=False)
    retention.apply(ManagerSettings(keep_finished_jobs=2))
    assert sorted(root.job_names()) == ["again", "first"]
