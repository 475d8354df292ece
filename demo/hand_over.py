"""Watches one DAG run that hands work over: the states of its task instances, and how far the job is."""

from __future__ import annotations

import time
from collections.abc import Callable

from air_executor import AirExecutorClient
from air_executor.client import JobView
from air_executor.errors import AirExecutorError
from tests.support.airflow_api import AirflowApi

Report = Callable[[str, str, str], None]

_PAUSE_S = 1.0
"""Between two lines about a job that goes on."""


class HandOverWitness:
    """Reports each state once, and how far the job is now and then."""

    def __init__(self, client: AirExecutorClient, api: AirflowApi, dag_id: str, run_id: str, report: Report) -> None:
        """Prepare to watch `run_id`; `report` gets the task, where something was seen, and what it is."""
        self._client = client
        self._api = api
        self._dag_id = dag_id
        self._run_id = run_id
        self._report = report
        self._states: dict[str, str | None] = {}
        self._told: object = None
        self._told_at = 0.0
        self.job: JobView | None = None

    def look_at_files(self) -> None:
        """Report how far the job is, if that has changed."""
        job = self._find_job()
        if job is None:
            return
        self.job = job
        now = time.monotonic()
        is_news = (job.state, job.tasks) != self._told
        if is_news and (now - self._told_at >= _PAUSE_S or job.state.is_terminal):
            counts = job.tasks
            progress = f"{counts['completed']:3} of {counts['total']:3} tasks completed, {counts['running']:2} running"
            self._report(job.labels["task_id"], f"job {job.state.value}", progress)
            self._told, self._told_at = (job.state, job.tasks), now

    def look_at_airflow(self) -> tuple[str, dict[str, str | None]]:
        """Report which task instances have another state, and return the states of the run and of all of them."""
        states = self._api.states(self._dag_id, self._run_id)
        for task, state in states.items():
            if state != self._states.get(task) and state not in (None, "scheduled", "queued"):
                self._report(task, "Airflow", f"{state}{' (no worker waits)' if state == 'deferred' else ''}")
        self._states = states
        return str(self._api.run(self._dag_id, self._run_id)["state"]), states

    def _find_job(self) -> JobView | None:
        if self.job is not None:
            return self._read(self.job.name) or self.job
        # Not all that there are: each task instance has a job of its own too.
        mine = (self._read(name) for name in self._client.job_names() if name.startswith(f"{self._dag_id}-"))
        return next((job for job in mine if job and job.labels.get("run_id") == self._run_id), None)

    def _read(self, name: str) -> JobView | None:
        try:
            job = self._client.job(name)
        except AirExecutorError:
            return None  # just being written
        return job if "completed" in job.tasks else None
