from __future__ import annotations

import os
import sys

import pytest

from air_executor.store.inotify import Arrival, Inotify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def inotify():
    instance = Inotify()
    yield instance
    instance.close()


def put(directory, name, aside="aside"):
    (directory.parent / aside).write_text("x")
    os.replace(directory.parent / aside, directory / name)


def make(directory):
    directory.mkdir()
    return directory


def test_what_is_renamed_into_place_is_told_with_its_directory(inotify, tmp_path):
    first, second = (inotify.add(make(tmp_path / name)) for name in ("first", "second"))

    put(tmp_path / "first", "state.json")
    put(tmp_path / "second", "tasks.json")

    assert inotify.take() == [Arrival(first, "state.json"), Arrival(second, "tasks.json")]
    assert inotify.take() == []


def test_what_is_written_in_place_is_told_when_it_is_whole(inotify, tmp_path):
    watch = inotify.add(tmp_path)

    with (tmp_path / "state.json").open("w") as file:
        file.write("{")
        file.flush()
        assert inotify.take() == []

    assert inotify.take() == [Arrival(watch, "state.json")]


def test_reading_wakes_nobody(inotify, tmp_path):
    (tmp_path / "state.json").write_text("{}")
    inotify.add(tmp_path)

    (tmp_path / "state.json").read_text()
    list(tmp_path.iterdir())

    assert inotify.take() == []


def test_directory_that_goes_is_told(inotify, tmp_path):
    first, second = (inotify.add(make(tmp_path / name)) for name in ("first", "second"))

    (tmp_path / "first").rmdir()
    (tmp_path / "second").rename(tmp_path / "third")

    assert inotify.take() == [Arrival(first, ""), Arrival(second, "")]


def test_same_directory_has_one_watch(inotify, tmp_path):
    assert inotify.add(tmp_path) == inotify.add(tmp_path)


def test_directory_that_is_no_longer_watched_is_silent(inotify, tmp_path):
    inotify.remove(inotify.add(tmp_path))

    (tmp_path / "state.json").write_text("{}")

    assert inotify.take() == []
    inotify.remove(4711)  # gone already: no error


def test_absent_directory_is_an_error(inotify, tmp_path):
    with pytest.raises(FileNotFoundError):
        inotify.add(tmp_path / "absent")


def test_descriptor_becomes_readable(inotify, tmp_path):
    import select

    inotify.add(tmp_path)
    assert select.select([inotify], [], [], 0)[0] == []

    (tmp_path / "state.json").write_text("{}")

    assert select.select([inotify], [], [], 0)[0] == [inotify]


def test_instance_is_not_passed_on_to_children(inotify):
    assert not os.get_inheritable(inotify.fileno())
