"""The attempts that run: launching them, hearing of their ends, adopting those that nobody looks after, ending them."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import time
from pathlib import Path

from air_executor.core.events import LaunchVoided, TaskEnded, TaskLaunched
from air_executor.core.job import Job
from air_executor.core.planning import Planner, StartTask, StopTask
from air_executor.errors import AirExecutorError
from air_executor.manager import outcomes
from air_executor.manager.adoption import AdoptedRunner, Fate, NeverStarted, Spools
from air_executor.manager.attempts import Attempt, attempt_id
from air_executor.manager.board import Board
from air_executor.manager.job_run import JobRun
from air_executor.manager.launcher import LocalLauncher, LocalServer, ServerKey
from air_executor.manager.settings import ManagerSettings
from air_executor.manager.stopping import Stopper
from air_executor.process.attempt_log import is_locked
from air_executor.process.exits import reap_strangers
from air_executor.process.identity import age_s, boot_id
from air_executor.process.protocol import Ended, Launch, NotStarted, Report, Started
from air_executor.store.environments import load_environment
from air_executor.store.records import utc_now
from air_executor.store.root import Root, error_name, log_name, result_name

_log = logging.getLogger(__name__)

_UNDECIDED_S = 0.05
"""How often an attempt is looked at whose end no pidfd announces."""


class Supervision:
    """Knows every attempt from its launch to the record of its end, whichever process tells of it."""

    def __init__(
        self, root: Root, board: Board, planner: Planner, selector: selectors.BaseSelector, settings: ManagerSettings
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.launcher = LocalLauncher(root, settings, self._use_server)
        self._root = root
        self._board = board
        self._planner = planner
        self._selector = selector
        self._stopper = Stopper(self.attempts, self.launcher.servers.keys())
        self._spools = Spools(root.run)
        self._adopted: dict[str, AdoptedRunner] = {}
        self._servers_to_reap: set[int] = set()
        self._cwd = os.getcwd()
        self._cwds: dict[str, str] = {}
        """Working directories of environments, by digest."""

    # Launching

    def start(self, action: StartTask) -> None:
        """Record a launch; it is sent by `send` once the record is on disk."""
        run = self._board.runs[action.job.name]
        launch = self._launch_message(run.job, action.task_id, action.attempt)
        self._board.record(run, TaskLaunched(at=utc_now(), task=action.task_id, attempt=action.attempt))
        task = run.job.tasks[action.task_id]
        self.attempts[launch.attempt_id] = Attempt(run.job, task, action.attempt, launch)
        self._planner.launched(run.job)
        run.launches.append((ServerKey(task.spec.runner, run.job.options.environment), launch))

    def send(self, run: JobRun) -> None:
        """Hand the recorded launches of a job to their fork servers."""
        launches, run.launches = run.launches, []
        by_key: dict[ServerKey, list[Launch]] = {}
        for key, launch in launches:
            if self.attempts[launch.attempt_id].stop_cause is None:
                by_key.setdefault(key, []).append(launch)
            else:
                # It was stopped meanwhile: it is not started any more.
                self._record_fate(self.attempts[launch.attempt_id], NeverStarted())
        for key, group in by_key.items():
            for refused in self.launcher.launch(key, group):
                self._record_fate(self.attempts[refused.attempt_id], refused)

    def _launch_message(self, job: Job, task_id: str, number: int) -> Launch:
        spec = job.tasks[task_id].spec
        directory = f"{self._root.jobs}/{job.name}"
        return Launch(
            attempt_id=attempt_id(job, task_id, number),
            log_path=f"{directory}/{log_name(task_id, number)}",
            command=spec.command,
            args=spec.args,
            cwd=spec.cwd or self._cwd_of(job),
            env={
                "AIR_EXECUTOR_BASE_PATH": str(self._root.path),
                "AIR_EXECUTOR_JOB": job.name,
                "AIR_EXECUTOR_TASK": task_id,
                "AIR_EXECUTOR_ATTEMPT": str(number),
                "AIR_EXECUTOR_RESULT_FILE": f"{directory}/{result_name(task_id, number)}",
                "AIR_EXECUTOR_ERROR_FILE": f"{directory}/{error_name(task_id, number)}",
                **spec.env,
            },
            workload_path=f"{directory}/{spec.workload}" if spec.workload else None,
            memory_limit_bytes=spec.memory_limit_bytes,
            keep_processes=spec.keep_processes,
        )

    def _cwd_of(self, job: Job) -> str:
        digest = job.options.environment
        if digest is None:
            return self._cwd
        if digest not in self._cwds:
            try:
                self._cwds[digest] = load_environment(self._root, digest).cwd
            except (AirExecutorError, OSError):
                # The launcher says what is wrong with it, when the launch is sent.
                return self._cwd
        return self._cwds[digest]

    # Ending

    def stop(self, action: StopTask, kill_grace_s: float) -> None:
        """End an attempt and all its processes."""
        attempt = self.attempts.get(attempt_id(action.job, action.task_id, action.attempt))
        if attempt is not None and attempt.stop_cause is None:
            _log.info("%s: ending it (%s)", attempt.name, action.cause.value)
            self._stopper.stop(attempt, action.cause, kill_grace_s)

    def drop(self, run: JobRun) -> None:
        """End at once what runs of a job that is no longer there."""
        for attempt in [each for each in self.attempts.values() if each.job is run.job]:
            self._stopper.kill(attempt)
            self._forget(attempt)

    # Hearing from fork servers

    def _use_server(self, server: LocalServer) -> None:
        self._board.tally.server_starts[server.key.kind] += 1
        self._spools.own.add(Path(server.process.spool_path))
        self._selector.register(server.process.channel, selectors.EVENT_READ, lambda: self._hear(server))

    def _hear(self, server: LocalServer) -> None:
        channel = server.process.channel
        for report in self.launcher.receive(server):
            self._take_report(report, server)
        if channel.has_ended:
            self._selector.unregister(channel)
            self._server_left(server)

    def _take_report(self, report: Report, server: LocalServer) -> None:
        if not isinstance(report, (Started, Ended, NotStarted)):
            return
        if not isinstance(report, Started):
            # Also for an attempt of a job that is gone: its server must not wait for it.
            self.launcher.attempt_ended(server, report.attempt_id)
        attempt = self.attempts.get(report.attempt_id)
        if attempt is None:
            return
        if isinstance(report, Started):
            if attempt.started is None:
                # A spool tells again what its server has told.
                self._board.tally.note_start(attempt.task, report.at)
            self._note_started(attempt, report)
        elif isinstance(report, NotStarted) and report.already_claimed and is_locked(attempt.launch.log_path):
            # Who claimed it lives: this is the attempt, launched by a manager whose record of it is gone.
            self._adopt(attempt)
        else:
            self._record_fate(attempt, report)

    def _note_started(self, attempt: Attempt, report: Started) -> None:
        attempt.started = report
        _log.debug("%s: started, pid %d", attempt.name, report.pid)
        timeout_s = attempt.task.spec.timeout_s
        if timeout_s is not None:
            due = time.monotonic() + max(timeout_s - run_time_s(report), 0)
            self._planner.set_timeout(attempt.job, attempt.task.spec.id, attempt.number, due)

    def _server_left(self, server: LocalServer) -> None:
        """Take note that a fork server is gone: what it left runs on, and is waited for by pidfd."""
        reports = self.launcher.server_left(server)
        for report in reports:
            self._take_report(report, server)
        self._spools.own.discard(Path(server.process.spool_path))
        self._spools.take(reports, Path(server.process.spool_path))
        self._servers_to_reap.add(server.process.pid)
        left = [self.attempts[each] for each in sorted(server.attempts) if each in self.attempts]
        words = self.launcher.last_words(server)
        if not server.is_retiring:
            self._board.tally.server_deaths[server.key.kind] += 1
            ending = f"; its log ends: {words}" if words else ""
            _log.warning("%s is gone, %d attempts were with it%s", server.name, len(left), ending)
        may_start_later = self.launcher.may_start_again(server)
        for attempt in left:
            if may_start_later or attempt.started is not None:
                # What has not started costs its task no attempt.
                self._adopt(attempt)
            else:
                error = f"{server.name} could not start: {words or 'it left no message'}"
                self._record_fate(attempt, NotStarted(attempt_id=attempt.id, at=time.time(), error=error))
        if not left:
            self.launcher.discard_files(server)

    # Adopting

    def take_over(self, run: JobRun) -> None:
        """Adopt what an earlier manager launched of this job, wherever it is now."""
        for task_id in sorted(run.job.running):
            task = run.job.tasks[task_id]
            launch = self._launch_message(run.job, task_id, task.attempt)
            attempt = Attempt(run.job, task, task.attempt, launch)
            self.attempts[attempt.id] = attempt
            self._planner.launched(run.job)
            self._adopt(attempt)
            if attempt.started is not None:
                _log.info("%s: adopted, pid %d", attempt.name, attempt.started.pid)

    def check_adopted(self) -> None:
        """Look at the attempts whose end no pidfd announces."""
        for runner in [each for each in self._adopted.values() if each.pidfd is None]:
            was_known = runner.attempt.started is not None
            fate = runner.check()
            if fate is None:
                self._watch_runner(runner, was_known=was_known)
            else:
                self._record_fate(runner.attempt, fate)

    def _adopt(self, attempt: Attempt) -> None:
        self._board.tally.adoptions += 1
        self._spools.read()
        was_known = attempt.started is not None
        runner = AdoptedRunner(attempt, self._spools, self.launcher.servers.keys())
        self._adopted[attempt.id] = runner
        self._watch_runner(runner, was_known=was_known)

    def _watch_runner(self, runner: AdoptedRunner, *, was_known: bool) -> None:
        started = runner.attempt.started
        if started is not None and not was_known:
            self._note_started(runner.attempt, started)
        if runner.pidfd is not None:
            self._selector.register(runner.pidfd, selectors.EVENT_READ, lambda: self._unwatch_runner(runner))

    def _unwatch_runner(self, runner: AdoptedRunner) -> None:
        # Its runner has exited: from now on it is looked at until its fork server, or nobody, has told how.
        if runner.pidfd is not None:
            self._selector.unregister(runner.pidfd)
            runner.close()

    # Recording

    def _record_fate(self, attempt: Attempt, fate: Fate) -> None:
        """Record the end of an attempt, whoever told it."""
        self._forget(attempt)
        run = self._board.runs.get(attempt.job.name)
        if run is None or run.job is not attempt.job:
            return
        event = _event_for(attempt, fate)
        self._board.record(run, event)
        if isinstance(event, LaunchVoided):
            return
        if event.retry_at is not None:
            self.await_retry(run.job, attempt.task.spec.id)
        if event.error is not None:
            again = f"; attempt {attempt.number + 1} follows" if event.retry_at else ""
            _log.warning("%s: %s: %s%s", attempt.name, event.outcome.value, event.error, again)
        if event.killed:
            _log.warning("%s: what it left running was ended: %s", attempt.name, ", ".join(event.killed))

    def await_retry(self, job: Job, task_id: str) -> None:
        """Have the next attempt of a task start when its pause is over."""
        retry_at = job.tasks[task_id].retry_at
        if retry_at is not None:
            pause_s = max(retry_at.timestamp() - time.time(), 0)
            self._planner.set_retry(job, task_id, time.monotonic() + pause_s)

    def _forget(self, attempt: Attempt) -> None:
        if self.attempts.pop(attempt.id, None) is not None:
            self._planner.ended(attempt.job)
        self._stopper.forget(attempt)
        runner = self._adopted.pop(attempt.id, None)
        if runner is not None:
            self._unwatch_runner(runner)

    # Time

    def advance(self) -> None:
        """Do what is due: signals, messages that wait for their socket, servers to reap."""
        now = time.monotonic()
        self._stopper.advance(now)
        self.launcher.advance(now)
        for server in self.launcher.servers.values():
            server.process.channel.flush()
        for pid in list(self._servers_to_reap):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._servers_to_reap.discard(pid)

    def next_due(self) -> float | None:
        """Return the monotonic instant at which `advance` or `check_adopted` has something to do."""
        due = [self._stopper.next_due(), self.launcher.next_due()]
        waits = any(server.process.channel.want_write for server in self.launcher.servers.values())
        if waits or self._servers_to_reap or any(runner.pidfd is None for runner in self._adopted.values()):
            due.append(time.monotonic() + _UNDECIDED_S)
        return min((instant for instant in due if instant is not None), default=None)

    def environments_in_use(self) -> set[str]:
        """Return the digests of environments that a job or a server has."""
        digests = {run.job.options.environment for run in self._board.runs.values()}
        digests |= {server.key.environment for server in self.launcher.servers.values()}
        return {digest for digest in digests if digest is not None}

    def tidy(self) -> None:
        """Reap what fell to us, and remove the spools of servers that are gone."""
        self._reap_strangers()
        self.launcher.tidy()
        if self._adopted:
            return
        live = {server.process.spool_path for server in self.launcher.servers.values()}
        for path in self._spools.paths():
            if str(path) not in live and not self._spools.any_live(path):
                self._spools.discard(path)

    def _reap_strangers(self) -> None:
        # What a task left behind falls to us when its fork server was killed. Runners are collected with their exit status.
        runners = {each.started.pid for each in self.attempts.values() if each.started is not None}
        reap_strangers(runners | self._servers_to_reap | self.launcher.servers.keys())

    def leave(self) -> None:
        """Let go of the fork servers: they stay until their last runner has ended."""
        for server in list(self.launcher.servers.values()):
            self.launcher.retire(server)


def run_time_s(started: Started) -> float:
    """Return for how long an attempt has run, by the clock in which the kernel dates its runner: nobody can set that one."""
    if started.boot_id != boot_id() or not started.start_ticks:
        return max(time.time() - started.at, 0)
    return max(age_s(started.start_ticks) - started.waited_s, 0)


def _event_for(attempt: Attempt, fate: Fate) -> TaskEnded | LaunchVoided:
    now = utc_now()
    if isinstance(fate, Ended):
        return outcomes.from_ended(attempt, fate, now)
    if isinstance(fate, NotStarted) and not fate.already_claimed:
        return outcomes.from_not_started(attempt, fate, now)
    if isinstance(fate, (NeverStarted, NotStarted)):
        if attempt.stop_cause is not None:
            return outcomes.from_never_started(attempt, now)
        return LaunchVoided(at=now, task=attempt.task.spec.id, attempt=attempt.number)
    return outcomes.from_lost(attempt, fate.killed, now)
