from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from air_executor.store.watch import Watch
from air_executor.web import feeds as module
from air_executor.web.feeds import Feeds
from air_executor.web.reader import JobReader
from air_executor.web.route import TooManyStreamsError
from tests.unit.web.conftest import Jobs, ran, record

Event = tuple[str, dict[str, Any]]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 60)

    asyncio.run(bounded())


async def events_of(stream: AsyncIterator[bytes]) -> list[Event]:
    return [event async for event in _parsed(stream)]


async def _parsed(stream: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    async for text in stream:
        if text.startswith(b"event: "):
            kind, data = text.decode().strip().split("\n")
            yield kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def next_event(stream: AsyncIterator[bytes]) -> Event:
    return await anext(_parsed(stream))


async def until(accept: Callable[[], object]) -> None:
    while not accept():
        await asyncio.sleep(0.01)


@pytest.fixture
def reader(jobs: Jobs) -> JobReader:
    return JobReader(jobs.client)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.01)


def test_progress_at_once_at_each_change_and_the_end(jobs: Jobs, reader: JobReader) -> None:
    async def test() -> None:
        jobs.put("job", record("task"))
        async with contextlib.aclosing(Feeds().follow(reader, "job")) as stream:
            kind, progress = await next_event(stream)
            assert (kind, progress["pending"], "tasks" in progress) == ("progress", 1, False)
            jobs.put("job", ran("task", "running"))
            kind, progress = await next_event(stream)
            assert (kind, progress["running"]) == ("progress", 1)
            jobs.put("job", ran("task"), state="completed")
            assert [(kind, data["completed"]) for kind, data in await events_of(stream)] == [
                ("progress", 1),
                ("end", 1),
            ]

    run(test)


def test_a_job_that_is_over_ends_at_once(jobs: Jobs, reader: JobReader) -> None:
    async def test() -> None:
        jobs.put("job", ran("task"), state="failed")
        assert [kind for kind, _ in await events_of(Feeds().follow(reader, "job"))] == ["progress", "end"]

    run(test)


def test_many_listeners_share_one_watch_and_leave_nothing(
    jobs: Jobs, reader: JobReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[Watch] = []
    watch_job = jobs.client.watch_job

    def watch(name: str) -> Watch:
        watches.append(watch_job(name))
        return watches[-1]

    monkeypatch.setattr(jobs.client, "watch_job", watch)

    async def test() -> None:
        jobs.put("job", record("task"))
        feeds = Feeds()
        threads = threading.active_count()
        streams = [feeds.follow(reader, "job") for _ in range(20)]
        for stream in streams:
            assert (await next_event(stream))[1]["pending"] == 1
        assert (len(watches), feeds.jobs, feeds.listeners) == (1, 1, 20)
        for stream in streams[1:]:
            await stream.aclose()  # type: ignore[attr-defined]
        jobs.put("job", ran("task", "running"))
        assert (await next_event(streams[0]))[1]["running"] == 1
        await streams[0].aclose()  # type: ignore[attr-defined]
        assert (feeds.jobs, feeds.listeners) == (0, 0)
        # What remains are the threads of the pool, which the loop keeps.
        await until(lambda: not [each for each in threading.enumerate() if "mitter" in type(each).__name__])
        assert threading.active_count() <= threads + 8

    run(test)


def test_without_events_the_job_is_looked_at_now_and_then(
    jobs: Jobs, reader: JobReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    directory = jobs.put("unwatched", record("task"))
    monkeypatch.setattr(jobs.client, "watch_job", lambda _: Watch((directory / "logs",)))

    async def test() -> None:
        jobs.put("job", record("task"))
        async with contextlib.aclosing(Feeds().follow(reader, "job")) as stream:
            await next_event(stream)
            jobs.put("job", ran("task"), state="completed")
            assert (await events_of(stream))[-1][0] == "end"

    run(test)


def test_a_slow_listener_gets_the_newest_only(jobs: Jobs, reader: JobReader) -> None:
    async def test() -> None:
        jobs.put("job", *(record(str(number)) for number in range(5)))
        feeds = Feeds()
        async with (
            contextlib.aclosing(feeds.follow(reader, "job")) as slow,
            contextlib.aclosing(feeds.follow(reader, "job")) as quick,
        ):
            await next_event(slow)
            await next_event(quick)
            for done in range(1, 4):
                jobs.put("job", *(ran(str(n)) for n in range(done)), *(record(str(n)) for n in range(done, 5)))
                assert (await next_event(quick))[1]["completed"] == done
            assert (await next_event(slow))[1]["completed"] == 3

    run(test)


def test_a_job_that_is_removed_ends(jobs: Jobs, reader: JobReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.05)

    async def test() -> None:
        jobs.put("job", ran("task"), state="working")
        async with contextlib.aclosing(Feeds().follow(reader, "job")) as stream:
            await next_event(stream)
            (jobs.path / "jobs" / "job").rename(jobs.path / "tmp" / "gone")
            [(kind, data)] = await events_of(stream)
            assert kind == "end"
            assert data["detail"].startswith("there is no job job")

    run(test)


def test_heartbeats(jobs: Jobs, reader: JobReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)

    async def test() -> None:
        jobs.put("job", record("task"))
        async with contextlib.aclosing(Feeds().follow(reader, "job")) as stream:
            async for text in stream:
                if text.startswith(b":"):
                    return

    run(test)


def test_streams_end_when_the_server_stops_or_they_are_old(jobs: Jobs, reader: JobReader) -> None:
    async def test() -> None:
        jobs.put("job", record("task"))
        assert [kind for kind, _ in await events_of(Feeds(max_age_s=0.2).follow(reader, "job"))] == ["progress"]
        feeds = Feeds()
        stream = feeds.follow(reader, "job")
        await next_event(stream)
        asyncio.get_running_loop().call_later(0.05, feeds.close)
        assert await events_of(stream) == []
        assert (feeds.jobs, feeds.listeners) == (0, 0)

    run(test)


def test_caps(jobs: Jobs, reader: JobReader) -> None:
    async def test() -> None:
        for name in ("one", "two"):
            jobs.put(name, record("task"))
        feeds = Feeds(max_listeners=2, max_jobs=1)
        first, second = feeds.follow(reader, "one"), feeds.follow(reader, "one")
        await next_event(first)
        feeds.check_room("one")
        with pytest.raises(TooManyStreamsError):
            feeds.check_room("two")
        await next_event(second)
        with pytest.raises(TooManyStreamsError):
            feeds.check_room("one")
        for stream in (first, second):
            await stream.aclose()  # type: ignore[attr-defined]
        feeds.check_room("two")

    run(test)


def test_a_listener_that_is_cancelled_frees_everything(jobs: Jobs, reader: JobReader) -> None:
    async def test() -> None:
        jobs.put("job", record("task"))
        feeds = Feeds()
        listener = asyncio.create_task(events_of(feeds.follow(reader, "job")))
        await until(lambda: feeds.listeners == 1)
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener
        await until(lambda: (feeds.jobs, feeds.listeners) == (0, 0))

    run(test)
