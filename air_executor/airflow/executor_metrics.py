"""What the executor reports to Airflow's metrics (StatsD, Datadog, OpenTelemetry): static names, ids as tags.

Counts are collected and reported once a loop. With metrics off nothing is counted, and no file is read for them.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from air_executor.airflow import compat
from air_executor.airflow.outcome import Outcome, Verdict
from air_executor.airflow.tracked_jobs import TrackedJob
from air_executor.client import AirExecutorClient, TaskView
from air_executor.errors import AirExecutorError

_MANAGER_INTERVAL_S = 10.0


class ExecutorMetrics:
    """Counts what one executor does. Raises no error."""

    def __init__(self, is_on: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Report nothing yet.

        :param is_on: there is somebody to report to.
        """
        self._is_on = is_on
        self._clock = clock
        self._dispatched = self._refused = 0
        self._dispatch_s = 0.0
        self._verdicts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._next_look_at = 0.0

    def note_dispatch(self, begun_at: float, *, is_refused: bool) -> None:
        """Count a workload that was made a job, or could not be.

        :param begun_at: when this began, by the clock.
        """
        if self._is_on:
            self._dispatch_s += self._clock() - begun_at
            self._dispatched += not is_refused
            self._refused += is_refused

    def note_end(self, client: AirExecutorClient, job: TrackedJob, ended: Outcome) -> None:
        """Count a job that has ended, and report how long it waited and ran."""
        if not self._is_on:
            return
        self._verdicts[ended.verdict.value] += 1
        with contextlib.suppress(AirExecutorError, OSError, IndexError):
            # One more small file; what cannot be read is no longer worth an error.
            task = client.tasks(job.name)[0]
            if ended.verdict is Verdict.FAILED:
                self._failures[task.outcome.value if task.outcome is not None else task.status.value] += 1
            _report_times(job.key, task)

    def look_at_manager(self, client: AirExecutorClient) -> None:
        """Report now and then what the manager does."""
        if not self._is_on or self._clock() < self._next_look_at:
            return
        self._next_look_at = self._clock() + _MANAGER_INTERVAL_S
        with contextlib.suppress(AirExecutorError, OSError):
            status = client.manager_status()
            compat.set_gauge("air_executor.manager.up", int(status is not None))
            compat.set_gauge("air_executor.manager.slots", status.slots if status else 0)
            compat.set_gauge("air_executor.manager.attempts", status.running if status else 0)
            parents = [server for server in status.servers if server.kind == "airflow"] if status else []
            compat.set_gauge("air_executor.warm_parents.ready", sum(each.is_ready for each in parents))
            compat.set_gauge("air_executor.warm_parents.loading", sum(not each.is_ready for each in parents))

    def publish(self, held: int) -> None:
        """Report what was counted since the last call.

        :param held: jobs whose end the executor waits for.
        """
        if not self._is_on:
            return
        compat.set_gauge("air_executor.jobs", held)
        if self._dispatched or self._refused:
            compat.record_time("air_executor.dispatch_duration", self._dispatch_s)
        if self._dispatched:
            compat.count("air_executor.dispatched", self._dispatched)
        if self._refused:
            compat.count("air_executor.dispatch_failures", self._refused)
        for verdict, number in self._verdicts.items():
            compat.count("air_executor.ended", number, {"verdict": verdict})
        for outcome, number in self._failures.items():
            compat.count("air_executor.failures", number, {"outcome": outcome})
        self._dispatched = self._refused = 0
        self._dispatch_s = 0.0
        self._verdicts.clear()
        self._failures.clear()


def _report_times(key: Any, task: TaskView) -> None:
    if task.started_at is None:
        return
    tags = {"dag_id": key.dag_id, "task_id": key.task_id} if compat.is_task_key(key) else {}
    waited = task.started_at - task.created_at
    compat.record_time("air_executor.queue_to_start", max(waited.total_seconds(), 0), tags)
    if task.completed_at is not None:
        compat.record_time("air_executor.run_duration", (task.completed_at - task.started_at).total_seconds(), tags)
