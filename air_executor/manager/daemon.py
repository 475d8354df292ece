"""The manager's loop: observe, plan, apply, publish. One thread decides; the only other one turns file events into wake-ups."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from air_executor.core.events import JobFinished, TasksOrphaned
from air_executor.core.job import Job
from air_executor.core.planning import FinishJob, Planner, StartTask, StopTask
from air_executor.core.states import JobState
from air_executor.errors import AirExecutorError
from air_executor.manager.board import Board
from air_executor.manager.job_run import JobRun
from air_executor.manager.launcher import ServerKey
from air_executor.manager.metrics_endpoint import MetricsEndpoint
from air_executor.manager.reception import Reception
from air_executor.manager.retention import Retention
from air_executor.manager.settings import load_settings
from air_executor.manager.supervision import Supervision
from air_executor.process.subreaper import become_subreaper
from air_executor.store.environments import remove_old_environments
from air_executor.store.locks import ManagerLock
from air_executor.store.records import utc_now
from air_executor.store.root import Root
from air_executor.store.status import ManagerStatus, ServerStatus, write_status
from air_executor.store.watch import Watch

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_log = logging.getLogger(__name__)

_HOUSEKEEPING_S = 30.0
_SOON_S = 0.2
_REST_S = 0.2
_ENVIRONMENT_AGE_S = 30 * 86400.0
_STATUS_S = 1.0
_LONGEST_WAIT_S = 60.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Manager:
    """The one manager of a root. `run` returns when it was told to stop; what runs then runs on."""

    def __init__(self, root: Root, overrides: dict[str, Any]) -> None:
        """Read the settings; touch nothing else.

        :param overrides: settings from the command line, by field name.
        """
        self._root = root
        self._overrides = overrides
        self._settings = load_settings(root, overrides)
        self._selector = selectors.DefaultSelector()
        self._planner = Planner(self._settings.slots)
        self._board = Board(root, self._planner, self._settings)
        self._supervision = Supervision(root, self._board, self._planner, self._selector, self._settings)
        self._retention = Retention(root, self._board.runs.__contains__)
        self._reception = Reception(
            root,
            self._board,
            take_over=self._take_over,
            warm_up=self._warm_up,
            note_finished=self._retention.note_found,
        )
        self._metrics = MetricsEndpoint(self._selector, self._make_registry)
        self._woke_at: float | None = None
        """Monotonic instant at which the loop last had something to do."""
        self._is_first_look = True
        self._undecided: list[Job] = []
        """Jobs without a task left that may have been given another one."""
        self._signals: set[int] = set()
        self._next_housekeeping = 0.0
        self._started_at = utc_now()
        self._status: ManagerStatus | None = None
        self._next_status = 0.0
        self._watch: Watch | None = None
        self._watched: tuple[int, ...] = ()
        """Inodes of the directories that `_watch` watches."""
        self._rests_until = 0.0
        """Monotonic instant before which nothing is tried again that the disk refused."""

    def run(self) -> None:
        """Manage the root until SIGTERM or SIGINT (stop), or SIGUSR1 (drain) has taken effect.

        :raises ManagerRunningError: another manager holds the root.
        """
        with self._wake_by_signals():
            # Now, as who sees the lock held may send a signal at once.
            lock = ManagerLock(self._root)
            become_subreaper()
            self._board.history.switch(on=self._settings.history)
            _log.info("manager (pid %d) of %s: %d slots", os.getpid(), self._root.path, self._settings.slots)
            self._metrics.apply(self._settings.metrics_host, self._settings.metrics_port)
            try:
                while not self._must_stop():
                    self._step()
            finally:
                self._leave()
        lock.release()
        running = len(self._supervision.attempts)
        _log.info("manager (pid %d) has stopped; %d attempts run on", os.getpid(), running)

    def _step(self) -> None:
        for part in (
            self._look,
            self._supervision.check_adopted,
            self._plan_and_apply,
            self._publish,
            self._supervision.advance,
            self._board.history.advance,
            self._keep_house,
        ):
            self._guard(part)
        wait_s = self._wait_s()
        if self._woke_at is not None:
            self._board.tally.step.observe(time.monotonic() - self._woke_at)
        ready = self._selector.select(wait_s)
        self._woke_at = time.monotonic()
        for key, _ in ready:
            self._guard(key.data)
        self._handle_signals()

    def _guard(self, part: Callable[[], None]) -> None:
        """Do a part of a step; a file that cannot be read, written or removed must not end the manager."""
        try:
            part()
        except OSError as error:
            self._board.note_disk_error(error)
            self._rests_until = time.monotonic() + _REST_S

    def _look(self) -> None:
        if time.monotonic() < self._reception.next_due():
            return
        self._reception.look_everywhere()
        self._watch_directories()
        if self._is_first_look:
            self._is_first_look = False
            self._retention.announce_again()
        for job in self._undecided:
            self._planner.reconsider(job)
        self._undecided.clear()

    def _watch_directories(self) -> None:
        """Watch the directories where things appear; anew if somebody removed them and they were made again."""
        directories = (self._root.jobs, self._root.requests)
        identities = tuple(os.stat(directory).st_ino for directory in directories)
        if identities == self._watched:
            return
        self._close_watch()
        # A module beside the root must not shadow an installed one in a warm parent that starts here.
        os.chdir(self._root.run)
        watch = Watch(directories)
        self._selector.register(watch.fileno(), selectors.EVENT_READ, lambda: self._reception.look_at(watch.take()))
        self._watch, self._watched = watch, identities
        # Between the look and the watch something may have come.
        self._reception.look_again()

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._selector.unregister(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _plan_and_apply(self) -> None:
        """Decide and record until nothing is left to decide; then what was recorded may start."""
        while True:
            actions = self._planner.plan(time.monotonic())
            for action in actions:
                if isinstance(action, StartTask):
                    self._supervision.start(action)
                elif isinstance(action, StopTask):
                    self._supervision.stop(action, self._settings.kill_grace_s)
                else:
                    self._finish(action)
            for run in self._board.flush():
                self._supervision.send(run)
            if not actions or self._undecided:
                # What the disk refuses to tell now is asked in a later step, not in this loop.
                return

    def _finish(self, action: FinishJob) -> None:
        try:
            self._decide_end(action)
        except OSError as error:
            self._board.note_disk_error(error)
            self._undecided.append(action.job)

    def _decide_end(self, action: FinishJob) -> None:
        run = self._board.runs.get(action.job.name)
        if run is None or run.job.state.is_terminal:
            return
        # The last task may have queued another one just before it exited.
        if not self._reception.read_requests():
            # The disk refused, and what was not read may be such a task: asked again at the next look at everything.
            self._undecided.append(run.job)
            return
        self._reception.merge_stranger(run)
        orphans = run.job.orphans()
        if orphans:
            self._board.record(run, TasksOrphaned(at=utc_now(), tasks=orphans))
        if not run.job.is_done:
            return
        state, error = run.job.outcome_state()
        self._board.record(run, JobFinished(at=utc_now(), state=state, error=error))
        level = logging.INFO if state is JobState.COMPLETED else logging.WARNING
        _log.log(level, "job %s: %s%s", run.job.name, state.value, f": {error}" if error else "")

    def _publish(self) -> None:
        for run, path in self._board.publish():
            self._reception.merge_replaced(run, path)
        for run in self._board.take_ended():
            ended_at = run.job.updated_at.timestamp()
            self._retention.note(run.job.name, ended_at, is_announced=run.job.options.announce)
        for run in self._board.take_removed():
            self._supervision.drop(run)
            self._reception.forget(run.job.name)

    def _take_over(self, run: JobRun) -> None:
        self._supervision.take_over(run)
        for task_id in sorted(run.job.delayed):
            self._supervision.await_retry(run.job, task_id)

    def _warm_up(self, environment: str) -> None:
        try:
            self._supervision.launcher.warm_up(ServerKey("airflow", environment))
        except (AirExecutorError, OSError) as error:
            _log.error("the warm parent could not be started early: %s", error)

    # Time and signals

    def _wait_s(self) -> float:
        now = time.monotonic()
        due = [now + _LONGEST_WAIT_S, self._next_housekeeping, self._reception.next_due()]
        if self._status is None:
            due.append(self._next_status)
        parts = (self._planner, self._board, self._board.history, self._supervision, self._metrics)
        others = (part.next_due() for part in parts)
        due.extend(instant for instant in others if instant is not None)
        # What just failed would fail again: not at once.
        return max(min(due) - now, self._rests_until - now, 0)

    def _keep_house(self) -> None:
        now = time.monotonic()
        self._metrics.drop_slow(now)
        self._write_status(now)
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + _HOUSEKEEPING_S
            # Its port may be free by now.
            self._metrics.apply(self._settings.metrics_host, self._settings.metrics_port)
            self._supervision.tidy()
            remove_old_environments(self._root, self._supervision.environments_in_use(), _ENVIRONMENT_AGE_S)
            if self._retention.apply(self._settings):
                self._next_housekeeping = now + _SOON_S

    def _make_registry(self) -> CollectorRegistry:
        # Not everybody has what it imports, nor needs it.
        from air_executor.manager.metrics import make_registry

        return make_registry(self._board, self._planner, self._supervision)

    def _write_status(self, now: float) -> None:
        status = self._describe()
        if status == self._status:
            return
        if now < self._next_status:
            # Written when its time has come, also if nothing else happens until then.
            self._status = None
            return
        with contextlib.suppress(OSError):
            write_status(self._root, status)
        self._status = status
        self._next_status = now + _STATUS_S

    def _describe(self) -> ManagerStatus:
        servers = tuple(
            ServerStatus(kind=each.key.kind, pid=each.process.pid, is_ready=each.is_ready, running=len(each.attempts))
            for each in self._supervision.launcher.servers.values()
        )
        return ManagerStatus(
            pid=os.getpid(),
            started_at=self._started_at,
            slots=self._settings.slots,
            running=len(self._supervision.attempts),
            running_announced=self._planner.running(is_announced=True),
            jobs=len(self._board.runs),
            is_draining=self._planner.is_draining,
            metrics_url=self._metrics.url,
            servers=servers,
        )

    @contextlib.contextmanager
    def _wake_by_signals(self) -> Iterator[None]:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        # Handlers only note the signal: the loop acts, between two steps.
        before = {number: signal.signal(number, lambda caught, _: self._signals.add(caught)) for number in _SIGNALS}
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, lambda: _drain(reader))
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _handle_signals(self) -> None:
        caught, self._signals = self._signals, set()
        if signal.SIGHUP in caught:
            self._reload()
        if signal.SIGUSR1 in caught:
            _log.info("draining: nothing new is started, %d attempts run", len(self._supervision.attempts))
            self._planner.is_draining = True
        self._signals |= caught & {signal.SIGTERM, signal.SIGINT}

    def _must_stop(self) -> bool:
        if self._signals & {signal.SIGTERM, signal.SIGINT}:
            return True
        is_idle = not self._supervision.attempts and not self._board.has_unpublished_ends
        return self._planner.is_draining and is_idle

    def _reload(self) -> None:
        try:
            self._settings = load_settings(self._root, self._overrides)
        except AirExecutorError as error:
            _log.error("the settings were not changed: %s", error)
            return
        self._planner.slots = self._settings.slots
        self._board.settings = self._supervision.launcher.settings = self._settings
        _log.info("settings read again: %d slots", self._settings.slots)
        self._metrics.apply(self._settings.metrics_host, self._settings.metrics_port)
        self._board.history.switch(on=self._settings.history)

    def _leave(self) -> None:
        """Write down what is known and let go of the fork servers."""
        for run in self._board.runs.values():
            self._board.show_soon(run)
        self._board.flush()
        self._publish()
        self._board.history.leave()
        self._supervision.leave()
        with contextlib.suppress(OSError):
            write_status(self._root, None)
        self._metrics.close()
        self._close_watch()
        self._selector.close()


def _drain(reader: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 4096):
            pass
