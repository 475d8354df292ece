"""The executor that the scheduler loads: hands workloads to the job engine and reports how they ended.

Runs inside the scheduler's loop: every call is short, and no error of the engine leaves it. Files are read and
written by the client only.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.executors.base_executor import PARALLELISM, BaseExecutor

from air_executor.airflow import adoption, compat, task_log
from air_executor.airflow.adoption import Adopter, Orphan
from air_executor.airflow.cli import get_commands
from air_executor.airflow.collection import Collector, read_output
from air_executor.airflow.cpu_wait import CpuWait
from air_executor.airflow.dismissal import DismissedJobs
from air_executor.airflow.environment_snapshot import take_snapshot
from air_executor.airflow.executor_metrics import ExecutorMetrics
from air_executor.airflow.fault_log import FaultLog
from air_executor.airflow.manager_keeper import ManagerKeeper
from air_executor.airflow.options import Options, read_base_path, read_options
from air_executor.airflow.outcome import Outcome, Verdict
from air_executor.airflow.queue_environments import QueueEnvironments
from air_executor.airflow.tracked_jobs import TrackedJob, TrackedJobs
from air_executor.airflow.workload_job import make_job
from air_executor.client import AirExecutorClient
from air_executor.errors import AirExecutorError, JobNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.cli.cli_config import GroupCommand
    from airflow.models.taskinstance import TaskInstance

_CHECK_ALL_INTERVAL_S = 30.0
_FULL_LINGER_FACTOR = 8
"""How many times longer it lingers while all slots are taken by tasks that were just handed out."""
_ENDS_PER_ROUND = 8
"""Of so many jobs that run, one end is enough for a round of the scheduler's loop: each has its price."""
_FULL_ENDS_PER_ROUND = 16
"""The same while all slots are taken: what is free cannot be used before the next round."""
_BUSY_ENDS_PER_ROUND = 2
"""The same where CPUs are what tasks wait for, and not slots: a round takes CPU time from them."""
_MANAGER_START_S = 5.0


class AirExecutorExecutor(BaseExecutor):
    """Runs each workload as a job of Air-Executor on this machine.

    A job outlives the scheduler: the next one adopts it by `external_executor_id`, which is the job's name.
    """

    supports_callbacks = True
    supports_connection_test = True
    supports_multi_team = True
    supported_workload_types = compat.list_workload_types()
    is_local = True
    is_production = True
    serve_logs = True
    sentry_integration = ""

    def __init__(self, parallelism: int = PARALLELISM, team_name: str | None = None) -> None:
        """Touch nothing: the API server makes instances that are never started, to read logs."""
        # 3.1 knows teams only in the configuration.
        team = {"team_name": team_name} if team_name is not None else {}
        super().__init__(parallelism, **team)
        self._faults = FaultLog(self.log)
        self._jobs = TrackedJobs()
        self._metrics = ExecutorMetrics(compat.metrics_are_on())
        self._collector = Collector(self._jobs, self._report, self._faults, self._metrics.note_end)
        self._dismissed = DismissedJobs(self._faults)
        self._adopter = Adopter(self._jobs, self._hold_adopted, self._faults)
        self._client: AirExecutorClient | None = None
        self._environments: QueueEnvironments | None = None
        self._keeper: ManagerKeeper | None = None
        self._watch: Any = None
        self._dispatched = 0
        self._may_linger = False
        self._next_check_all_at = 0.0
        self._cpu_wait = CpuWait()
        self._unrest: tuple[Any, Any] | None = None
        self._just_succeeded: set[Any] = set()
        """Keys whose success the scheduler has not dealt with yet."""

    @cached_property
    def _can_store_names(self) -> bool:
        return compat.has_row_locks()

    @cached_property
    def _options(self) -> Options:
        return read_options(self._read_setting, os.environ)

    @cached_property
    def _batch_size(self) -> int:
        """How many task instances the scheduler queues in one loop at most."""
        with contextlib.suppress(ValueError):
            return int(self._read_setting("scheduler", "max_tis_per_query") or 0) or self.parallelism
        return self.parallelism

    def _read_setting(self, section: str, name: str) -> str | None:
        return compat.read_setting(getattr(self, "conf", None), section, name)

    # The scheduler's calls, in the order of a life.

    def start(self) -> None:
        """Open the root and see to a manager; a root that cannot be used is tried again with each workload.

        :raises ConfigurationError: an option of [air_executor] has a value that it cannot have.
        """
        options = self._options
        self._unrest = compat.find_unrest_event()
        self._keeper = ManagerKeeper(
            autostart=options.autostart_manager,
            start_options=options.list_manager_settings(self.parallelism),
            log=self.log,
        )
        try:
            client = self._open()
            self._keeper.check(client, 0, _MANAGER_START_S)
        except (AirExecutorError, OSError) as error:
            self.log.error("Air-Executor cannot use its base path, so tasks will fail: %s", error)
            return
        self.log.info("Air-Executor runs tasks under %s", client.base_path)

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            key = compat.get_key(workload)
            compat.pop_queued(self, key)
            self.running.add(key)
            begin, is_refused = time.monotonic(), False
            try:
                self._dispatch(key, workload)
            except Exception as error:
                # Whatever it is, it is the end of this workload, not of the scheduler.
                self._refuse(key, workload, error)
                is_refused = True
            self._metrics.note_dispatch(begin, is_refused=is_refused)

    def has_task(self, task_instance: TaskInstance) -> bool:
        """Tell whether a task instance is queued or runs here, or was scheduled anew before its success was reported.

        A task that is to go on later has succeeded in what it did until then. It may be scheduled again before the scheduler hears
        of that, and would be taken for killed: after a deferral until Airflow 3.2.1, and in every version for a sensor in
        mode `reschedule`. In any other state the scheduler acts on the success: a cleared task waits for it.
        """
        if super().has_task(task_instance):
            return True
        return task_instance.state == compat.TASK_SCHEDULED and task_instance.key in self._just_succeeded

    def order_queued_tasks_by_priority(self) -> list[tuple[Any, Any]]:
        """Return the queued tasks, highest priority first."""
        return compat.order_by_priority(self.queued_tasks.items())

    def sync(self) -> None:
        """Report the jobs that have ended since the last call; may linger for the first of those just dispatched, or for a free slot."""
        try:
            self._sync()
            self._metrics.publish(len(self._jobs))
        except Exception as error:
            self._faults.tell("Air-Executor cannot read its base path, will try again: %s", error)

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """End whatever runs for a task instance and forget it; report nothing. Raises no error."""
        try:
            key = ti.key
            compat.pop_queued(self, key)
            self.running.discard(key)
            self._adopter.drop(key)
            job = self._jobs.find(key)
            if job is not None:
                self._jobs.remove(job)
            name = job.name if job is not None else self._find_job_name(ti)
            if name is not None:
                self._dismissed.add(name)
                self._dismissed.cancel(self._open(), name)
        except JobNotFoundError:
            # Nothing of it is left; `check_all` forgets it.
            return
        except Exception:
            self.log.exception("Air-Executor could not revoke %s", ti)

    def try_adopt_task_instances(self, tis: Sequence[TaskInstance]) -> Sequence[TaskInstance]:
        """Take over the jobs of task instances whose scheduler is gone; return those that have none."""
        orphans = [adoption.describe(ti) for ti in tis]
        rejected = self._adopter.adopt(self._open, orphans)
        # Some may have ended long ago, with their mark removed by the scheduler that is gone.
        self._next_check_all_at = 0.0
        self.log.info(
            "Air-Executor adopted %d task instance(s), found no job for %d", len(tis) - len(rejected), len(rejected)
        )
        return [ti for ti, orphan in zip(tis, orphans, strict=True) if orphan in rejected]

    def get_task_log(self, ti: TaskInstance, try_number: int) -> tuple[list[str], list[str]]:
        """Return what is known of a running task beside its own log, which Airflow reads itself.

        With a source Airflow does not ask the log server; so none is named where the log is not on this machine.
        """
        try:
            return self._describe_running(ti, try_number)
        except Exception as error:
            # A page of the web UI asks, and has other sources.
            self.log.debug("Air-Executor has no log for %s: %s", ti, error)
            return [], []

    def end(self) -> None:
        """Report what has ended and leave. Jobs run on under the manager; the next scheduler adopts them."""
        try:
            if self._client is not None:
                self._collector.collect(self._client)
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        except Exception as error:
            self.log.error("Air-Executor cannot read its base path: %s", error)
        if self._jobs:
            self.log.info("Leaving %d job(s) to the manager; the next scheduler adopts them.", len(self._jobs))

    def terminate(self) -> None:
        """Leave at once, as `end` does: a signal for the scheduler is none for the tasks."""
        self.end()

    def debug_dump(self) -> None:
        """Log the state of this executor, on SIGUSR2."""
        super().debug_dump()  # type: ignore[no-untyped-call] # Airflow's
        lines = "\n\t".join(f"{job.name} for {job.key}" for job in self._jobs)
        self.log.info("air_executor: base path %s, jobs (%d)\n\t%s", self._base_path, len(self._jobs), lines)

    @staticmethod
    def get_cli_commands() -> list[GroupCommand]:
        """Return the commands for Airflow 3.1; later ones take them from the provider's description."""
        return get_commands()

    # Dispatch.

    @property
    def _base_path(self) -> Path:
        path = read_base_path(self._read_setting, os.environ)
        team_name = getattr(self, "team_name", None)
        if not team_name or path != read_base_path(lambda s, n: compat.read_setting(None, s, n), os.environ):
            return path
        # Teams must not see each other's tasks: one that names no base path of its own gets a directory beside.
        return path.with_name(f"{path.name}-{team_name}")

    def _open(self) -> AirExecutorClient:
        """Return the client of the executor's root, with the environment of its tasks saved there.

        :raises RootError: the root cannot be used; the message has the remedy.
        """
        if self._client is not None:
            return self._client
        client = AirExecutorClient(self._base_path)
        if self._keeper is None:  # not started: an instance that only reads logs
            return client
        snapshot = take_snapshot(team_name=getattr(self, "team_name", None))
        self._environments = QueueEnvironments(
            self._options.queue_environments,
            snapshot,
            lambda each: client.save_environment(each.python, each.variables, each.cwd),
        )
        self._client = client
        client.warm_up(self._environments.default)
        return client

    def _dispatch(self, key: Any, workload: Any) -> None:
        client = self._open()
        assert self._environments is not None  # since this executor was started
        running, success, failure = compat.get_states(workload)
        job = make_job(
            workload,
            environment=self._environments.find(compat.get_queue(workload)),
            memory_limit_bytes=self._options.task_memory_limit_bytes,
        )
        name = client.submit(job.spec, job.attachments)
        self._jobs.add(TrackedJob(name, key, success, failure, getattr(workload, "log_path", None)))
        self._dispatched += 1
        if compat.is_task_key(key):
            self._announce_name(key, name)
        elif running is not None:
            self.event_buffer[key] = (running, None)

    def _announce_name(self, key: Any, name: str) -> None:
        """Have the scheduler store the job's name as `external_executor_id`; without it, adoption finds the job by its prefix."""
        if self._can_store_names:
            self.event_buffer[key] = (compat.TASK_QUEUED, name)

    def _refuse(self, key: Any, workload: Any, error: Exception) -> None:
        # A validation error may quote the workload, and with it the token; ours never do.
        known = isinstance(error, AirExecutorError | OSError | TypeError)
        # The job of an earlier section of the task may still be on its way: its end would take the place of this one.
        self._jobs.release(key)
        reason = f"Air-Executor could not submit it: {error if known else type(error).__name__}"
        self._report_failure(key, compat.get_states(workload)[2], getattr(workload, "log_path", None), reason)

    # Collection.

    def _sync(self) -> None:
        if self._keeper is None:
            return
        # Each loop of the scheduler deals with all that was reported before it comes here again.
        self._just_succeeded.clear()
        client = self._open()
        self._keeper.check(client, len(self._jobs))
        self._metrics.look_at_manager(client)
        dispatched, self._dispatched = self._dispatched, 0
        self._may_linger = self._may_linger or dispatched > 0
        if not self._jobs and not self._dismissed and not self._adopter:
            return
        self._dismissed.collect(client)
        # With an end to report, or after a full batch, which may have more behind it, the scheduler goes round at once
        # (see `compat.find_unrest_event`); the linger is then for a later time, before it sleeps.
        ended = self._collector.collect(client)
        if len(self.running) >= self.parallelism > 0:
            # Nothing can be queued until a slot is free, so the scheduler would sleep its second whatever ends meanwhile.
            # Several ends at a time, as each round of its loop has its price.
            # Those that were handed out together tend to end together, a while later.
            factor = _FULL_LINGER_FACTOR if self._may_linger else 1
            self._may_linger = False
            per_round = _BUSY_ENDS_PER_ROUND if self._cpu_wait.was_long() else _FULL_ENDS_PER_ROUND
            ended += self._linger(client, enough=max(self.parallelism // per_round, 1), factor=factor)
        elif not ended and self._may_linger and dispatched < self._batch_size:
            self._may_linger = False
            ended = self._linger(client, enough=max(len(self._jobs) // _ENDS_PER_ROUND, 1))
        if ended:
            self._note_ended()
        self._check_all(client)

    def _note_ended(self) -> None:
        """See that what follows an end is not slept through."""
        # What runs beside something that has ended may end soon too: the last of many are waited for one by one.
        self._may_linger = self._may_linger or bool(self._jobs)
        if self._unrest is not None:
            key, value = self._unrest
            self.event_buffer[key] = value

    def _linger(self, client: AirExecutorClient, enough: int, factor: int = 1) -> int:
        """Wait for `enough` jobs to end; return how many did."""
        if self._options.sync_linger_s <= 0:
            return 0
        until = time.monotonic() + self._options.sync_linger_s * factor
        if self._watch is None:
            # Not before now: it has a thread, and executors beside this one fork when they start.
            self._watch = client.watch_ended()
        if not self._watch.is_live:
            # No event would end the wait.
            return 0
        # First without waiting: what ended before the watch began wakes nobody. Later, a mark of others may have woken us.
        collected = self._collector.collect(client)
        while collected < enough and (left_s := until - time.monotonic()) > 0:
            self._watch.wait(left_s)
            collected += self._collector.collect(client)
        return collected

    def _check_all(self, client: AirExecutorClient) -> None:
        """Look at everything now and then, whether something told of it or not."""
        now = time.monotonic()
        if now < self._next_check_all_at:
            return
        self._next_check_all_at = now + _CHECK_ALL_INTERVAL_S
        for orphan in self._adopter.adopt_later(self._open):
            self.running.discard(orphan.key)
            self.log.warning("Air-Executor found no job for %s; Airflow's time limits see to it", orphan.key)
        self._collector.check_all(client)
        self._dismissed.check_all(client)

    def _report(self, job: TrackedJob, ended: Outcome) -> None:
        if ended.verdict is Verdict.SUCCEEDED:
            self._just_succeeded.add(job.key)
            self.change_state(job.key, job.success_state)
        elif ended.verdict is Verdict.SUPERSEDED:
            self.running.discard(job.key)
            self.log.info("%s is no longer this executor's: %s", job.key, ended.reason)
        elif ended.verdict is Verdict.STOPPED:
            # A cleared task instance waits for this event: after a success it is run anew at once, after a failure only when
            # its `retry_delay` is over. To others it says nothing.
            self.log.info("%s was stopped. %s", job.key, ended.reason)
            self.change_state(job.key, job.success_state, ended.reason)
        else:
            log_path = None if ended.is_in_task_log else job.log_path
            self._report_failure(job.key, job.failure_state, log_path, ended.reason)

    def _report_failure(self, key: Any, failure_state: Any, log_path: str | None, reason: str) -> None:
        self.log.error("%s failed. %s", key, reason)
        # First of all: without it the task instance would wait for ever.
        self.change_state(key, failure_state, reason)
        task_log.append_event(log_path, reason)
        if not compat.is_task_key(key):
            return
        try:
            self.log_task_event(event="air-executor failure", extra=reason, ti_key=key)
        except Exception:
            # The failure itself is reported: a second report, at the next look, would be wrong.
            self.log.exception("Air-Executor could not write to the audit log")

    # Adoption.

    def _hold_adopted(self, orphan: Orphan, name: str | None) -> None:
        self.running.add(orphan.key)
        # The id in the database may be missing, or that of an earlier job.
        if name is not None and orphan.external_executor_id != name:
            self._announce_name(orphan.key, name)

    def _find_job_name(self, ti: TaskInstance) -> str | None:
        try:
            names = self._open().job_names()
        except (AirExecutorError, OSError):
            # At worst that of an earlier section of a deferred task, which is over.
            if ti.external_executor_id:
                return ti.external_executor_id
            raise
        return adoption.index_names(names).get(adoption.make_prefix(ti))

    def _describe_running(self, ti: TaskInstance, try_number: int) -> tuple[list[str], list[str]]:
        if ti.try_number != try_number:
            return [], []
        client = self._open()
        name = ti.external_executor_id or self._find_job_name(ti)
        if not name:
            return [], []
        view = client.job(name)
        log_path = view.labels.get("log_path")
        if not log_path or not task_log.find_file(log_path).exists():
            return [], []
        task = client.tasks(name)[0]
        source = f"Air-Executor job {name} in {client.job_path(name)}: {task.status.value}, attempt {task.attempt}"
        output = read_output(client, name, task.attempt)
        return [source], [output] if output else []
