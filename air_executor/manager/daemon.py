"""The manager's loop: observe, plan, apply, publish. One thread decides; the only other one turns file events into wake-ups."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from air_executor.core.events import Event, JobCancelled, JobClosed, JobFinished, LaunchVoided, TaskEnded, TaskLaunched
from air_executor.core.job import Job
from air_executor.core.planning import FinishJob, Planner, StartTask, StopTask
from air_executor.core.states import JobState
from air_executor.errors import AirExecutorError, JobNotFoundError
from air_executor.manager import outcomes
from air_executor.manager.adoption import AdoptedRunner, Fate, NeverStarted, Spools
from air_executor.manager.attempts import Attempt, attempt_id
from air_executor.manager.inbox import Inbox, clean_up, find_stranger, utc_now
from air_executor.manager.launcher import LocalLauncher, LocalServer, ServerKey
from air_executor.manager.publishing import JobRun
from air_executor.manager.settings import load_settings
from air_executor.manager.status import ManagerStatus, ServerStatus, write_status
from air_executor.manager.stopping import Stopper
from air_executor.process.protocol import Ended, Launch, NotStarted, Report, Started
from air_executor.process.subreaper import become_subreaper
from air_executor.store.environments import load_environment
from air_executor.store.intake import LoadedJob, read_tasks, unknown_tasks
from air_executor.store.locks import ManagerLock
from air_executor.store.records import SubmittedTask
from air_executor.store.requests import (
    AnyRequest,
    CancelJob,
    CloseJob,
    QueueTasks,
    WarmUp,
    list_requests,
    read_request,
    refuse_request,
)
from air_executor.store.root import Root
from air_executor.store.watch import Watch

_log = logging.getLogger(__name__)

_UNDECIDED_S = 0.05
"""How often an adopted attempt is checked that no pidfd announces."""
_RETRY_DISK_S = 1.0
_HOUSEKEEPING_S = 30.0
_STATUS_S = 1.0
_LONGEST_WAIT_S = 60.0


class Manager:
    """The one manager of a root. `run` returns when it was told to stop; what runs then runs on."""

    def __init__(self, root: Root, overrides: dict[str, Any]) -> None:
        """Read the settings; touch nothing else.

        :param overrides: settings from the command line, by field name.
        """
        self._root = root
        self._overrides = overrides
        self.settings = load_settings(root, overrides)
        self._cwd = os.getcwd()
        self._planner = Planner(self.settings.slots)
        self._launcher = LocalLauncher(root, self.settings, self._use_server)
        self._inbox = Inbox(root)
        self._spools = Spools(root.run)
        self._runs: dict[str, JobRun] = {}
        self._attempts: dict[str, Attempt] = {}
        self._adopted: dict[str, AdoptedRunner] = {}
        self._stopper = Stopper(self._attempts)
        self._selector = selectors.DefaultSelector()
        self._servers_to_reap: set[int] = set()
        self._must_flush: dict[str, JobRun] = {}
        self._finished: dict[str, JobRun] = {}
        """Recorded as finished, but not yet published."""
        self._blocked_until = 0.0
        """Monotonic instant before which nothing is written, because the disk refused."""
        self._next_rescan = 0.0
        self._next_housekeeping = 0.0
        self._next_status = 0.0
        self._last_status: ManagerStatus | None = None
        self._started_at = utc_now()
        self._signals: set[int] = set()

    def run(self) -> None:
        """Manage the root until SIGTERM or SIGINT (stop), or SIGUSR1 (drain) has taken effect.

        :raises ManagerRunningError: another manager holds the root.
        """
        lock = ManagerLock(self._root)
        become_subreaper()
        # A module beside the root must not shadow an installed one in a warm parent that starts here.
        os.chdir(self._root.run)
        with Watch((self._root.jobs, self._root.requests)) as watch, self._wake_by_signals():
            self._selector.register(watch.fileno(), selectors.EVENT_READ, lambda: self._look_at(watch.take()))
            _log.info("manager (pid %d) of %s: %d slots", os.getpid(), self._root.path, self.settings.slots)
            try:
                self._spools.read()
                while not self._must_stop():
                    self._step()
            finally:
                self._leave()
        lock.release()
        _log.info("manager (pid %d) has stopped; %d attempts run on", os.getpid(), len(self._attempts))

    def _step(self) -> None:
        self._look_everywhere_if_due()
        self._check_adopted()
        self._advance()
        for key, _ in self._selector.select(self._wait_s()):
            callback: Callable[[], None] = key.data
            callback()
        self._handle_signals()

    def _advance(self) -> None:
        """Plan and apply until nothing is left to decide, and write down what was decided."""
        for _ in range(1000):
            actions = self._planner.plan(time.monotonic())
            for action in actions:
                if isinstance(action, StartTask):
                    self._start(action)
                elif isinstance(action, StopTask):
                    self._stop(action)
                else:
                    self._finish(action)
            self._flush()
            if not actions:
                break
        self._publish()
        self._stopper.advance(time.monotonic())
        self._do_housekeeping()

    # Observing

    def _look_everywhere_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_rescan:
            return
        self._take_in(self._inbox.look(None, utc_now()))
        self._read_requests()
        for run in list(self._runs.values()):
            self._merge_stranger(run)
        # A listing of very many directories must not take all of our time.
        cost = time.monotonic() - now
        self._next_rescan = time.monotonic() + max(self.settings.rescan_s, cost * 20)

    def _look_at(self, paths: list[Path]) -> None:
        names = [path.name for path in paths if path.parent == self._root.jobs]
        self._take_in(self._inbox.look(names, utc_now()))
        if any(path.parent == self._root.requests for path in paths):
            self._read_requests()

    def _take_in(self, loaded: list[LoadedJob]) -> None:
        for job, journal, strangers in loaded:
            run = JobRun(job, journal)
            run.view_due = time.monotonic() + self.settings.view_interval_s
            self._runs[job.name] = run
            self._must_flush[job.name] = run
            if strangers:
                self._merge(run, strangers)
            for task_id in sorted(job.running):
                self._adopt_recorded(run, task_id)
            for task_id in job.delayed:
                pause_s = (job.tasks[task_id].retry_at or utc_now()).timestamp() - time.time()
                self._planner.set_retry(job, task_id, time.monotonic() + max(pause_s, 0))
            if job.state.is_terminal:
                # A manager was killed between the record of the end and its publication.
                self._finished[job.name] = run
            else:
                self._planner.reconsider(job)
            _log.info("job %s: taken up, %d tasks", job.name, len(job.tasks))

    def _read_requests(self) -> None:
        for path in list_requests(self._root):
            try:
                request = read_request(path)
                run = self._apply_request(request)
                if run is not None:
                    # The request is removed only once its effect is on disk.
                    run.journal.flush()
                path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue
            except AirExecutorError as error:
                kept = refuse_request(path)
                _log.error("a request was refused: %s (kept as %s)", error, kept)
            except OSError as error:
                self._note_disk_error(error)
                return

    def _apply_request(self, request: AnyRequest) -> JobRun | None:
        if isinstance(request, WarmUp):
            with contextlib.suppress(OSError):
                self._launcher.warm_up(ServerKey("airflow", request.environment))
            return None
        run = self._runs.get(request.job)
        if run is None:
            self._take_in(self._inbox.look([request.job], utc_now()))
            run = self._runs.get(request.job)
        if run is None or run.job.state.is_terminal:
            raise JobNotFoundError(f"job {request.job} is not running: {type(request).__name__} has no effect")
        now = utc_now()
        if isinstance(request, QueueTasks):
            strangers = tuple(
                SubmittedTask(**{name: getattr(task, name) for name in task.__struct_fields__})
                for task in request.tasks
            )
            self._record(run, *unknown_tasks(run.job, strangers, now))
        elif isinstance(request, CancelJob):
            _log.info("job %s: cancelled%s", request.job, f": {request.reason}" if request.reason else "")
            self._record(run, JobCancelled(at=now, reason=request.reason))
        elif isinstance(request, CloseJob):
            self._record(run, JobClosed(at=now))
        return run

    def _merge_stranger(self, run: JobRun) -> None:
        """Take over tasks from a tasks.json that somebody else put in place of ours."""
        path = find_stranger(self._root, run.job)
        if path is None or run.job.state.is_terminal:
            return
        try:
            strangers = read_tasks(path)
            if strangers:
                self._merge(run, strangers)
        except AirExecutorError as error:
            self._refuse_stranger(run, path, error)
        # Ours replaces it, with what it added.
        run.view_due = time.monotonic()

    def _merge(self, run: JobRun, strangers: tuple[SubmittedTask, ...]) -> None:
        events = unknown_tasks(run.job, strangers, utc_now())
        if events:
            self._record(run, *events)
            _log.info("job %s: tasks were added to tasks.json by hand; it has %d now", run.job.name, len(run.job.tasks))

    def _refuse_stranger(self, run: JobRun, path: Path, error: AirExecutorError) -> None:
        _log.error("job %s fails: %s", run.job.name, error)
        with contextlib.suppress(OSError):
            os.replace(path, path.with_name("tasks.json.refused"))
        self._record(run, JobCancelled(at=utc_now(), reason=f"{error} (kept as tasks.json.refused)", is_failure=True))

    # Applying

    def _record(self, run: JobRun, *events: Event) -> None:
        run.record(events, time.monotonic(), self.settings.view_interval_s)
        self._must_flush[run.job.name] = run
        self._planner.reconsider(run.job)

    def _start(self, action: StartTask) -> None:
        run = self._runs[action.job.name]
        launch = self._launch_message(run.job, action.task_id, action.attempt)
        self._record(run, TaskLaunched(at=utc_now(), task=action.task_id, attempt=action.attempt))
        task = run.job.tasks[action.task_id]
        self._attempts[launch.attempt_id] = Attempt(run.job, task, action.attempt, launch)
        self._planner.launched()
        run.launches.append((ServerKey(task.spec.runner, run.job.options.environment), launch))

    def _launch_message(self, job: Job, task_id: str, number: int) -> Launch:
        spec = job.tasks[task_id].spec
        cwd = spec.cwd or self._cwd_of(job)
        return Launch(
            attempt_id=attempt_id(job, task_id, number),
            log_path=str(self._root.log(job.name, task_id, number)),
            command=spec.command,
            args=spec.args,
            cwd=cwd,
            env={
                "AIR_EXECUTOR_BASE_PATH": str(self._root.path),
                "AIR_EXECUTOR_JOB": job.name,
                "AIR_EXECUTOR_TASK": task_id,
                "AIR_EXECUTOR_ATTEMPT": str(number),
                **spec.env,
            },
            workload_path=str(self._root.job(job.name) / spec.workload) if spec.workload else None,
            memory_limit_bytes=spec.memory_limit_bytes,
            keep_processes=spec.keep_processes,
        )

    def _cwd_of(self, job: Job) -> str:
        if job.options.environment is not None:
            with contextlib.suppress(AirExecutorError, OSError):
                return load_environment(self._root, job.options.environment).cwd
        return self._cwd

    def _stop(self, action: StopTask) -> None:
        attempt = self._attempts.get(attempt_id(action.job, action.task_id, action.attempt))
        if attempt is not None and attempt.stop_cause is None:
            _log.info("%s: ending it (%s)", attempt.name, action.cause.value)
            self._stopper.stop(attempt, action.cause, self.settings.kill_grace_s)

    def _finish(self, action: FinishJob) -> None:
        run = self._runs.get(action.job.name)
        if run is None or run.job.state.is_terminal:
            return
        # The last task may have queued another one just before it exited.
        self._read_requests()
        self._merge_stranger(run)
        if not run.job.is_done:
            return
        state, error = run.job.outcome_state()
        self._record(run, JobFinished(at=utc_now(), state=state, error=error))
        self._planner.forget(run.job)
        self._finished[run.job.name] = run
        _log.log(
            logging.INFO if state is JobState.COMPLETED else logging.WARNING,
            "job %s: %s%s",
            run.job.name,
            state.value,
            f": {error}" if error else "",
        )

    # Publishing

    def _flush(self) -> None:
        """Write journals, then send what may start now that its record is on disk."""
        if time.monotonic() < self._blocked_until:
            return
        for name, run in list(self._must_flush.items()):
            try:
                run.journal.flush()
            except FileNotFoundError:
                self._drop_removed_job(run)
                continue
            except OSError as error:
                self._note_disk_error(error)
                return
            del self._must_flush[name]
            launches, run.launches = run.launches, []
            for key in dict.fromkeys(key for key, _ in launches):
                self._send(key, [launch for each, launch in launches if each == key])

    def _send(self, key: ServerKey, launches: list[Launch]) -> None:
        # What was stopped meanwhile is not started any more.
        for launch in [launch for launch in launches if self._attempts[launch.attempt_id].stop_cause is not None]:
            launches.remove(launch)
            self._record_fate(self._attempts[launch.attempt_id], NeverStarted())
        for refused in self._launcher.launch(key, launches) if launches else ():
            self._record_fate(self._attempts[refused.attempt_id], refused)

    def _publish(self) -> None:
        now = time.monotonic()
        if now < self._blocked_until:
            return
        try:
            for name, run in list(self._finished.items()):
                if name not in self._must_flush:
                    run.publish_end(self._root)
                    del self._finished[name], self._runs[name]
            for run in list(self._runs.values()):
                if run.view_due is not None and run.view_due <= now:
                    stranger = run.publish_views(self._root)
                    if stranger is not None:
                        self._merge_replaced(run, stranger)
        except FileNotFoundError:
            for run in list(self._runs.values()):
                if not self._root.job(run.job.name).exists():
                    self._drop_removed_job(run)
        except OSError as error:
            self._note_disk_error(error)

    def _merge_replaced(self, run: JobRun, path: Path) -> None:
        try:
            self._merge(run, read_tasks(path) or ())
        except AirExecutorError as error:
            self._refuse_stranger(run, path, error)
        path.unlink(missing_ok=True)

    def _drop_removed_job(self, run: JobRun) -> None:
        """Somebody removed the directory of a job: end what runs of it, and forget it."""
        name = run.job.name
        _log.warning("job %s: its directory was removed; what runs of it is ended", name)
        for attempt in [each for each in self._attempts.values() if each.job is run.job]:
            self._stopper.kill(attempt)
            self._forget_attempt(attempt)
        self._planner.forget(run.job)
        for mapping in (self._runs, self._must_flush, self._finished):
            mapping.pop(name, None)
        self._inbox.forget(name)

    def _note_disk_error(self, error: OSError) -> None:
        self._blocked_until = time.monotonic() + _RETRY_DISK_S
        _log.error(
            "%s: %s; nothing new is started until it can be written, what runs goes on",
            error.filename or self._root.path,
            error.strerror,
        )

    # Reports of fork servers

    def _use_server(self, server: LocalServer) -> None:
        self._selector.register(server.process.channel, selectors.EVENT_READ, lambda: self._hear(server))

    def _hear(self, server: LocalServer) -> None:
        channel = server.process.channel
        channel.flush()
        for report in self._launcher.receive(server):
            self._take_report(report, server)
        if channel.has_ended:
            self._selector.unregister(channel)
            self._server_left(server)

    def _take_report(self, report: Report, server: LocalServer | None) -> None:
        if not isinstance(report, (Started, Ended, NotStarted)):
            return
        attempt = self._attempts.get(report.attempt_id)
        if attempt is None:
            return
        if isinstance(report, Started):
            self._note_started(attempt, report)
            return
        if server is not None:
            self._launcher.attempt_ended(server, report.attempt_id)
        self._record_fate(attempt, report)

    def _note_started(self, attempt: Attempt, report: Started) -> None:
        attempt.started = report
        _log.debug("%s: started, pid %d", attempt.name, report.pid)
        timeout_s = attempt.task.spec.timeout_s
        if timeout_s is not None:
            due = time.monotonic() + max(timeout_s - max(time.time() - report.at, 0), 0)
            self._planner.set_timeout(attempt.job, attempt.task.spec.id, attempt.number, due)

    def _server_left(self, server: LocalServer) -> None:
        """Take note that a fork server is gone: what it left runs on, and is waited for by pidfd."""
        reports = self._launcher.server_left(server)
        for report in reports:
            self._take_report(report, server)
        self._servers_to_reap.add(server.process.pid)
        left = [self._attempts[each] for each in sorted(server.attempts) if each in self._attempts]
        if not server.is_retiring:
            words = self._launcher.last_words(server)
            _log.warning(
                "%s is gone, %d attempts were with it%s",
                server.name,
                len(left),
                f"; its log ends: {words}" if words else "",
            )
        self._spools.take(reports, Path(server.process.spool_path))
        for attempt in left:
            if server.is_ready or attempt.started is not None:
                self._adopt(attempt)
            else:
                self._record_boot_failure(server, attempt)
        if not left:
            self._launcher.discard_files(server)

    def _record_boot_failure(self, server: LocalServer, attempt: Attempt) -> None:
        words = self._launcher.last_words(server) or "it left no message"
        error = f"{server.name} could not start: {words}"
        self._record_fate(attempt, NotStarted(attempt_id=attempt.id, at=time.time(), error=error))

    # Adoption

    def _adopt_recorded(self, run: JobRun, task_id: str) -> None:
        task = run.job.tasks[task_id]
        launch = self._launch_message(run.job, task_id, task.attempt)
        attempt = Attempt(run.job, task, task.attempt, launch)
        self._attempts[attempt.id] = attempt
        self._planner.launched()
        self._adopt(attempt)
        if attempt.started is not None:
            _log.info("%s: adopted, pid %d", attempt.name, attempt.started.pid)
            self._note_started(attempt, attempt.started)

    def _adopt(self, attempt: Attempt) -> None:
        runner = AdoptedRunner(attempt, self._spools)
        self._adopted[attempt.id] = runner
        self._watch_runner(runner)

    def _watch_runner(self, runner: AdoptedRunner) -> None:
        if runner.pidfd is not None:
            self._selector.register(runner.pidfd, selectors.EVENT_READ, lambda: self._runner_exited(runner))

    def _runner_exited(self, runner: AdoptedRunner) -> None:
        # From now on `check` is called regularly until its fork server, or nobody, has told how it ended.
        if runner.pidfd is not None:
            self._selector.unregister(runner.pidfd)
            runner.close()

    def _check_adopted(self) -> None:
        for runner in [each for each in self._adopted.values() if each.pidfd is None]:
            fate = runner.check()
            if fate is None:
                self._watch_runner(runner)
            else:
                self._record_fate(runner.attempt, fate)

    def _record_fate(self, attempt: Attempt, fate: Fate) -> None:
        """Record the end of an attempt, whoever told it."""
        run = self._runs.get(attempt.job.name)
        self._forget_attempt(attempt)
        if run is None or run.job is not attempt.job:
            return
        now = utc_now()
        event: TaskEnded | LaunchVoided
        if isinstance(fate, Ended):
            event = outcomes.from_ended(attempt, fate, now)
        elif isinstance(fate, NotStarted) and not fate.already_claimed:
            event = outcomes.from_not_started(attempt, fate, now)
        elif isinstance(fate, (NeverStarted, NotStarted)):
            never = attempt.stop_cause is not None
            event = outcomes.from_never_started(attempt, now) if never else self._void(attempt)
        else:
            event = outcomes.from_lost(attempt, fate.killed, now)
        self._record(run, event)
        if isinstance(event, TaskEnded):
            self._after_end(run, attempt, event)

    def _void(self, attempt: Attempt) -> LaunchVoided:
        return LaunchVoided(at=utc_now(), task=attempt.task.spec.id, attempt=attempt.number)

    def _after_end(self, run: JobRun, attempt: Attempt, event: TaskEnded) -> None:
        if event.retry_at is not None and attempt.task.spec.id in run.job.delayed:
            pause_s = event.retry_at.timestamp() - time.time()
            self._planner.set_retry(run.job, attempt.task.spec.id, time.monotonic() + max(pause_s, 0))
        if event.error is not None:
            again = f"; attempt {attempt.number + 1} follows" if event.retry_at else ""
            _log.warning("%s: %s: %s%s", attempt.name, event.outcome.value, event.error, again)
        if event.killed:
            _log.warning("%s: what it left running was ended: %s", attempt.name, ", ".join(event.killed))
        if run.job.options.announce is False:
            self._merge_stranger(run)

    def _forget_attempt(self, attempt: Attempt) -> None:
        if self._attempts.pop(attempt.id, None) is not None:
            self._planner.ended(attempt.job)
        self._stopper.forget(attempt)
        runner = self._adopted.pop(attempt.id, None)
        if runner is not None:
            self._runner_exited(runner)

    # Time, signals, housekeeping

    def _wait_s(self) -> float:
        now = time.monotonic()
        due = [now + _LONGEST_WAIT_S, self._next_rescan, self._next_housekeeping]
        due += [run.view_due for run in self._runs.values() if run.view_due is not None]
        for instant in (self._planner.next_due(), self._stopper.next_due()):
            if instant is not None:
                due.append(instant)
        if self._inbox.recheck_s is not None:
            due.append(now + self._inbox.recheck_s)
            self._next_rescan = min(self._next_rescan, now + self._inbox.recheck_s)
        if any(runner.pidfd is None for runner in self._adopted.values()):
            due.append(now + _UNDECIDED_S)
        if self._must_flush or self._finished:
            due.append(max(self._blocked_until, now))
        if any(server.process.channel.want_write for server in self._launcher.servers.values()):
            due.append(now + _UNDECIDED_S)
        wait_s = max(min(due) - now, 0)
        return max(wait_s, self._blocked_until - now) if now < self._blocked_until else wait_s

    def _do_housekeeping(self) -> None:
        now = time.monotonic()
        for server in self._launcher.servers.values():
            server.process.channel.flush()
        self._reap_servers()
        self._write_status_if_due(now)
        if now < self._next_housekeeping:
            return
        self._next_housekeeping = now + _HOUSEKEEPING_S
        self._launcher.retire_idle(now)
        clean_up(self._root, self.settings.keep_announced_s)
        live = {server.process.spool_path for server in self._launcher.servers.values()}
        for path in self._spools.paths():
            if str(path) not in live and not self._spools.any_live(path) and not self._adopted:
                self._spools.discard(path)

    def _reap_servers(self) -> None:
        for pid in list(self._servers_to_reap):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._servers_to_reap.discard(pid)

    def _write_status_if_due(self, now: float) -> None:
        if now < self._next_status:
            return
        servers = tuple(
            ServerStatus(kind=each.key.kind, pid=each.process.pid, is_ready=each.is_ready, running=len(each.attempts))
            for each in self._launcher.servers.values()
        )
        status = ManagerStatus(
            pid=os.getpid(),
            started_at=self._started_at,
            slots=self.settings.slots,
            running=len(self._attempts),
            jobs=len(self._runs),
            is_draining=self._planner.is_draining,
            servers=servers,
        )
        if status != self._last_status:
            with contextlib.suppress(OSError):
                write_status(self._root, status)
                self._last_status = status
        self._next_status = now + _STATUS_S

    @contextlib.contextmanager
    def _wake_by_signals(self) -> Any:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
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
            _log.info("draining: nothing new is started, %d attempts run", len(self._attempts))
            self._planner.is_draining = True
        self._signals |= caught & {signal.SIGTERM, signal.SIGINT}

    def _must_stop(self) -> bool:
        told_to = bool(self._signals & {signal.SIGTERM, signal.SIGINT})
        return told_to or (self._planner.is_draining and not self._attempts and not self._finished)

    def _reload(self) -> None:
        try:
            self.settings = load_settings(self._root, self._overrides)
        except AirExecutorError as error:
            _log.error("the settings were not changed: %s", error)
            return
        self._planner.slots = self.settings.slots
        self._launcher.settings = self.settings
        _log.info("settings read again: %d slots", self.settings.slots)
        for run in self._runs.values():
            self._planner.reconsider(run.job)

    def _leave(self) -> None:
        """Write down what is known and let go of the fork servers; they stay until their last runner has ended."""
        with contextlib.suppress(OSError):
            for run in self._runs.values():
                run.journal.flush()
                if run.view_due is not None and run.launches == []:
                    run.publish_views(self._root)
        for server in list(self._launcher.servers.values()):
            self._launcher.retire(server)
        write_status(self._root, None)
        self._selector.close()


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


def _drain(reader: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 4096):
            pass
