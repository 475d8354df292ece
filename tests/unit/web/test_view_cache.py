from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from air_executor.web.view_cache import ViewCache
from tests.support.waiting import wait_until


class Reader:
    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, path: str) -> str:
        self.paths.append(Path(path).name)
        return Path(path).read_text()


def put(path: Path, text: str) -> str:
    aside = path.with_suffix(".aside")
    aside.write_text(text)
    os.rename(aside, path)
    return str(path)


def test_a_file_is_read_once_until_it_is_another(tmp_path: Path) -> None:
    cache, read = ViewCache[str](10), Reader()
    path = put(tmp_path / "a", "one")

    assert [cache.get(path, read), cache.get(path, read)] == ["one", "one"]
    assert read.paths == ["a"]
    put(tmp_path / "a", "two")
    assert cache.get(path, read) == "two"


def test_a_file_of_the_same_size_and_time_is_another_by_its_inode(tmp_path: Path) -> None:
    cache, read = ViewCache[str](10), Reader()
    path = put(tmp_path / "a", "one")
    status = os.stat(path)
    cache.get(path, read)

    put(tmp_path / "a", "two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert cache.get(path, read) == "two"


def test_what_is_gone_is_not_shown(tmp_path: Path) -> None:
    cache, read = ViewCache[str](10), Reader()
    path = put(tmp_path / "a", "one")
    cache.get(path, read)
    os.unlink(path)

    with pytest.raises(FileNotFoundError):
        cache.get(path, read)


def test_memory_is_bounded_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache, read = ViewCache[str](10, len), Reader()
    first, second, third = (put(tmp_path / name, name * 4) for name in "abc")
    for path in (first, second, first, third):
        cache.get(path, read)

    assert len(cache) == 2
    cache.get(first, read)
    cache.get(second, read)
    assert read.paths == ["a", "b", "c", "b"]


def test_what_is_too_large_is_read_but_not_kept(tmp_path: Path) -> None:
    cache, read = ViewCache[str](10, len), Reader()
    small, large = put(tmp_path / "a", "abc"), put(tmp_path / "b", "x" * 11)

    assert cache.get(small, read) == "abc"
    assert cache.get(large, read) == "x" * 11
    assert len(cache) == 1
    cache.get(small, read)
    assert read.paths == ["a", "b"]


def test_of_many_who_ask_at_once_one_reads(tmp_path: Path) -> None:
    cache = ViewCache[str](10)
    path = put(tmp_path / "a", "one")
    may_go_on = threading.Event()
    reads: list[str] = []

    def read(path: str) -> str:
        reads.append(path)
        assert may_go_on.wait(30)
        return "one"

    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(cache.get(path, read))) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: reads, what="a reader")
    may_go_on.set()
    for thread in threads:
        thread.join(30)

    assert answers == ["one"] * 5
    assert len(reads) == 1
