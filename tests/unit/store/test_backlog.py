"""Second names of journals: they keep what is in them, sort by age, and do not fill a disk."""

from __future__ import annotations

import time

import pytest

from air_executor.store.backlog import Backlog, drop_oldest, kept_journals, root_id
from air_executor.store.root import Root
from tests.support.processes import at_once


@pytest.fixture
def backlog(root: Root) -> Backlog:
    return Backlog(root)


def write(root: Root, name: str, content: str = "what happened") -> None:
    root.job(name).mkdir(exist_ok=True)
    (root.job(name) / "journal").write_text(content)


def test_a_journal_outlives_its_job(root: Root, backlog: Backlog) -> None:
    write(root, "a:b~c+d")
    assert backlog.keep("a:b~c+d", durable=True)
    (root.job("a:b~c+d") / "journal").unlink()
    [kept] = kept_journals(root)
    assert (kept.job_name, kept.links, kept.size_bytes) == ("a:b~c+d", 1, 13)
    assert (root.history / kept.name).read_text() == "what happened"


def test_without_a_journal_there_is_nothing_to_keep(root: Root, backlog: Backlog) -> None:
    assert not backlog.keep("job", durable=False)


def test_names_sort_by_age_also_after_the_clock_was_set_back(
    root: Root, backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", "third"):
        write(root, name)
    backlog.keep("first", durable=False)
    monkeypatch.setattr(time, "time_ns", lambda: 1000)
    backlog.keep("second", durable=False)
    Backlog(root).keep("third", durable=False)
    assert [kept.job_name for kept in kept_journals(root)] == ["first", "second", "third"]


def test_the_oldest_are_given_up_beyond_a_number_or_a_size(root: Root, backlog: Backlog) -> None:
    for number in range(10):
        write(root, f"job-{number}", "x" * 100)
        backlog.keep(f"job-{number}", durable=False)
    assert drop_oldest(root, most=10, most_bytes=1000) == 0
    assert drop_oldest(root, most=8, most_bytes=1000) == 2
    assert drop_oldest(root, most=8, most_bytes=250) == 6
    assert [kept.job_name for kept in kept_journals(root)] == ["job-8", "job-9"]


def test_a_root_has_one_id_whoever_asks_first(root: Root) -> None:
    assert len(set(at_once(8, lambda _: root_id(root)))) == 1
    assert [path.name for path in root.history.iterdir()] == ["root-id"]
