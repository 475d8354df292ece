"""Live progress: one watch a job, however many listen, and only the newest state for those who are slow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import msgspec

from air_executor.client import JobView
from air_executor.core.progress import Progress
from air_executor.errors import AirExecutorError
from air_executor.web.answers import ErrorAnswer, show_progress
from air_executor.web.reader import JobReader
from air_executor.web.route import TooManyStreamsError

_log = logging.getLogger(__name__)

_PAUSE_S = 0.25
_LOOK_S = 2.0
"""Events may be lost: the job is looked at this often without one."""
HEARTBEAT_S = 15.0
_HEARTBEAT = b": still here\n\n"


class Feeds:
    """The event streams of one process. Used by one event loop."""

    def __init__(self, *, max_listeners: int = 256, max_jobs: int = 64, max_age_s: float = 3600.0) -> None:
        """Begin with none.

        :param max_jobs: each needs an inotify instance and threads.
        :param max_age_s: a stream ends after this long, and whoever goes on listening is asked for permission anew.
        """
        self._max_listeners = max_listeners
        self._max_jobs = max_jobs
        self._max_age_s = max_age_s
        self._feeds: dict[str, _Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.listeners = 0

    @property
    def jobs(self) -> int:
        """Return how many jobs are watched."""
        return len(self._feeds)

    def check_room(self, name: str) -> None:
        """Refuse what is too much.

        :raises TooManyStreamsError: so many streams are open.
        """
        if self.listeners >= self._max_listeners or (name not in self._feeds and len(self._feeds) >= self._max_jobs):
            raise TooManyStreamsError

    async def follow(self, reader: JobReader, name: str) -> AsyncIterator[bytes]:
        """Yield the events of a job until it is over, the listener leaves, or this is closed."""
        feed = self._feeds.get(name)
        if feed is None or feed.is_over:
            feed = self._feeds[name] = _Feed(reader, name)
        feed.listeners += 1
        self.listeners += 1
        try:
            yield b"retry: 2000\n\n"
            async for event in self._events(feed):
                yield event
        finally:
            feed.listeners -= 1
            self.listeners -= 1
            if feed.listeners == 0:
                self._drop(feed)

    def close(self) -> None:
        """End all streams; those who listen may come again later."""
        self._is_closed = True
        for feed in self._feeds.values():
            feed.wake()

    async def _events(self, feed: _Feed) -> AsyncIterator[bytes]:
        ends_at = time.monotonic() + self._max_age_s
        seen = 0
        while not self._is_closed and time.monotonic() < ends_at:
            for number, event in feed.events:
                if number > seen:
                    seen = number
                    yield event
            if feed.is_over:
                return
            if feed.version == seen and not await feed.changed(min(HEARTBEAT_S, self._max_age_s)):
                yield _HEARTBEAT

    def _drop(self, feed: _Feed) -> None:
        if self._feeds.get(feed.name) is feed:
            del self._feeds[feed.name]
        # Its watch is closed in a thread; kept until then, as the loop itself holds tasks weakly.
        self._ending.add(feed.task)
        feed.task.add_done_callback(self._ending.discard)
        feed.task.cancel()


class _Feed:
    """What happens to one job."""

    def __init__(self, reader: JobReader, name: str) -> None:
        self.name = name
        self.listeners = 0
        self.version = 0
        self.events: tuple[tuple[int, bytes], ...] = ()
        """The newest progress, and the end if there is one, numbered."""
        self._reader = reader
        self._shown: Progress | None = None
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    @property
    def is_over(self) -> bool:
        """Claim that nothing more will happen."""
        return self.task.done()

    def wake(self) -> None:
        """Let all listeners look."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> bool:
        """Wait until something happens; False says that nothing did."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._follow(stack)
        except OSError as error:
            # Listeners come again: perhaps it can be read then.
            _log.warning("job %s cannot be followed: %s", self.name, error)
        except AirExecutorError as error:
            # Removed, or damaged: nobody can say more of it.
            self._publish("end", msgspec.json.encode(ErrorAnswer(detail=self._reader.hide_paths(str(error)))))
        finally:
            # Not at once: this task is not done before it has returned.
            asyncio.get_running_loop().call_soon(self.wake)

    async def _follow(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        appeared = asyncio.Event()
        # Threads: starting and stopping a watch waits for threads of its own.
        watch = await asyncio.to_thread(self._reader.client.watch_job, self.name)
        stack.push_async_callback(asyncio.to_thread, watch.close)
        loop.add_reader(watch.fileno(), appeared.set)
        stack.callback(loop.remove_reader, watch.fileno())
        while True:
            watch.take()
            appeared.clear()
            job = await asyncio.to_thread(self._reader.job, self.name)
            self._show(job)
            if job.state.is_terminal:
                self._publish("end", self._encode(job))
                return
            await asyncio.sleep(_PAUSE_S)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(appeared.wait(), _LOOK_S)

    def _show(self, job: JobView) -> None:
        progress = self._reader.progress(job)
        # The rate alone changes with every look.
        known = msgspec.structs.replace(progress, tasks_per_s=None, time_left_s=None)
        if known != self._shown:
            self._shown = known
            self._publish("progress", self._encode(job))

    def _encode(self, job: JobView) -> bytes:
        return msgspec.json.encode(show_progress(job, self._reader.progress(job)))

    def _publish(self, event: str, data: bytes) -> None:
        self.version += 1
        numbered = (self.version, b"event: %s\ndata: %s\n\n" % (event.encode(), data))
        self.events = (*self.events, numbered) if event == "end" else (numbered,)
        self.wake()
