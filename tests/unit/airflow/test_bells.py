from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import pytest

from air_executor.airflow import bells as bells_module
from air_executor.airflow.bells import Bells
from air_executor.store.inotify import Arrival

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="without inotify bells do not ring")


def change(directory, name="state.json"):
    aside = directory.parent / f"{directory.name}.aside"
    aside.write_text("{}")
    os.replace(aside, directory / name)


def make(directory):
    directory.mkdir()
    return directory


def instances() -> int:
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(link) and "inotify" in os.readlink(link) for link in links if os.path.islink(link))


def test_bell_rings_for_its_own_job_alone(tmp_path):
    async def scenario():
        bells = Bells()
        async with bells.hang(make(tmp_path / "one")) as one, bells.hang(make(tmp_path / "two")) as two:
            change(tmp_path / "one")
            return await one.wait(5), await two.wait(0.05)

    assert asyncio.run(scenario()) == (True, False)


def test_bell_that_rang_waits_for_the_next_change(tmp_path):
    async def scenario():
        async with Bells().hang(tmp_path) as bell:
            change(tmp_path)
            return await bell.wait(5), await bell.wait(0.05)

    assert asyncio.run(scenario()) == (True, False)


def test_other_files_ring_nothing(tmp_path):
    async def scenario():
        async with Bells().hang(make(tmp_path / "job")) as bell:
            change(tmp_path / "job", "tasks.json")
            return await bell.wait(0.05)

    assert asyncio.run(scenario()) is False


def test_bell_for_a_job_that_is_not_there_rings_when_it_is_moved_into_place(tmp_path):
    async def scenario():
        jobs = make(tmp_path / "jobs")
        async with Bells().hang(jobs, "mine") as mine, Bells().hang(jobs, "other") as other:
            make(tmp_path / "aside").rename(jobs / "mine")
            return await mine.wait(5), await other.wait(0.05)

    assert asyncio.run(scenario()) == (True, False)


def test_two_may_wait_for_one_job(tmp_path):
    async def scenario():
        bells = Bells()
        async with bells.hang(tmp_path) as one:
            async with bells.hang(tmp_path) as two:
                change(tmp_path)
                rang = await one.wait(5), await two.wait(5)
            # The one who left took nothing with it.
            change(tmp_path)
            return (*rang, await one.wait(5))

    assert asyncio.run(scenario()) == (True, True, True)


def test_hundreds_of_waits_take_one_instance_and_leave_none(tmp_path):
    async def scenario():
        bells = Bells()
        async with contextlib.AsyncExitStack() as stack:
            hung = [await stack.enter_async_context(bells.hang(make(tmp_path / str(n)))) for n in range(300)]
            seen = instances()
            change(tmp_path / "299")
            assert await hung[299].wait(5)
            return seen

    before = instances()
    assert asyncio.run(scenario()) == before + 1
    assert instances() == before


def test_lost_events_ring_everybody(tmp_path, monkeypatch):
    async def scenario():
        bells = Bells()
        async with bells.hang(make(tmp_path / "one")) as one, bells.hang(make(tmp_path / "two")) as two:
            monkeypatch.setattr(bells._inotify, "take", lambda: [Arrival(-1, "")])
            bells._ring()
            return await one.wait(0), await two.wait(0)

    assert asyncio.run(scenario()) == (True, True)


def test_without_watches_the_bell_says_that_it_never_rings(tmp_path, monkeypatch, caplog):
    def fail():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(bells_module, "Inotify", fail)

    async def scenario():
        bells = Bells()
        async with bells.hang(tmp_path) as one, bells.hang(tmp_path) as two:
            return one.is_live, two.is_live, await one.wait(0)

    assert asyncio.run(scenario()) == (False, False, False)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_job_whose_directory_has_gone_is_looked_at_now_and_then(tmp_path):
    async def scenario():
        async with Bells().hang(tmp_path / "archived") as bell:
            return bell.is_live

    before = instances()
    assert asyncio.run(scenario()) is False
    assert instances() == before
