"""How a task instance waits for the end of a job: in its worker, woken by file events, or in the triggerer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from air_executor.airflow.hook import DEFAULT_CONN_ID, AirExecutorHook
from air_executor.airflow.job_observer import DEFAULT_REPORT_INTERVAL_S, JobObserver, is_there, read_glances
from air_executor.airflow.job_summary import DEFAULT_MAX_RESULTS_BYTES, explain_failure, make_summary
from air_executor.airflow.sdk_compat import AirflowException, AirflowFailException
from air_executor.core.states import JobState
from air_executor.errors import DamagedFileError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from air_executor.airflow.task_instance_try import TaskInstanceTry
    from air_executor.client import AirExecutorClient, JobView

Duration = timedelta | float

_LOOK_S = 5.0
_LONGEST_S = 100 * 365 * 86400.0


def seconds(given: Duration, name: str) -> float:
    """Return a duration in seconds.

    :raises ValueError: it is no duration, or negative.
    """
    number: Any = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a timedelta or a number of seconds that is not negative, not {given!r}")
    return float(number)


def find_deadline(timeout_s: float) -> datetime | None:
    """Return the instant in `timeout_s` seconds; None where that is no limit, because it is beyond any calendar."""
    return datetime.now(timezone.utc) + timedelta(seconds=timeout_s) if timeout_s < _LONGEST_S else None


class WaitsForJob(BaseOperator):
    """What operator and sensor do to wait; the job's name they find themselves."""

    _cancels_job = False
    """Whether the job is this task's own, to be cancelled with it."""

    def __init__(
        self,
        *,
        conn_id: str = DEFAULT_CONN_ID,
        defer_after: Duration = 2.0,
        report_interval: Duration = DEFAULT_REPORT_INTERVAL_S,
        pull_results: bool | Collection[str] = True,
        max_results_bytes: int = DEFAULT_MAX_RESULTS_BYTES,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.defer_after = defer_after
        self.report_interval = report_interval
        self.pull_results = pull_results
        self.max_results_bytes = max_results_bytes
        self.end_from_trigger = end_from_trigger
        self._defer_after_s = seconds(defer_after, "defer_after")
        self._report_interval_s = seconds(report_interval, "report_interval")
        self._waited_for: tuple[AirExecutorClient, str, TaskInstanceTry] | None = None
        self._deadline: datetime | None = None
        """Of the whole wait of this try, over all its deferrals."""

    @property
    def hook(self) -> AirExecutorHook:
        """Return a hook for the connection."""
        return AirExecutorHook(self.conn_id)

    def execute_complete(self, context: Context, event: dict[str, Any], deadline: str | None = None) -> Any:
        """Go on after the trigger saw the job's end, or that there is no such job.

        :param deadline: ISO 8601, as the deferral left it; None for no limit.
        """
        job_name: str = event["job_name"]
        client = self.hook.get_client()
        if event.get("missing"):
            raise AirflowException(_explain_missing(client, job_name))
        self._deadline = datetime.fromisoformat(deadline) if deadline else None
        view = self._observe(context, client, job_name, None).look()
        if view.state.is_terminal:
            return self._finish(context, view)
        # Somebody has run it again since.
        if self._left_s() <= 0:
            return self._give_up(context, job_name)
        return self._defer_until_over(context, job_name, None)

    def on_kill(self) -> None:
        """Cancel the job, where it is this task's own."""
        if self._waited_for is None or not self._cancels_job:
            return
        from air_executor.airflow.handed_over_job import cancel_for

        client, job_name, who = self._waited_for
        self.log.info("Cancelling job %s, because its task in Airflow is ended", job_name)
        cancel_for(client, job_name, who, f"its task in Airflow was ended (try {who.try_number})")

    def _left_s(self) -> float:
        """Return the seconds until the deadline."""
        if self._deadline is None:
            return float("inf")
        return (self._deadline - datetime.now(timezone.utc)).total_seconds()

    def _give_up(self, context: Context, job_name: str) -> NoReturn:
        """Fail, because the deadline has passed."""
        raise NotImplementedError

    def _await_start(self, job_name: str, limit_s: float) -> bool:
        """Return whether the job was there within `limit_s` seconds; say so if it has to be waited for."""
        client = self.hook.get_client()
        if is_there(client, job_name):
            return True
        self.log.info(
            "⏳ Waiting for Air-Executor to start job %s: it is not there yet (%s)", job_name, client.base_path
        )
        if limit_s <= 0:
            return False
        until = time.monotonic() + limit_s
        with client.watch_jobs() as watch:
            while not is_there(client, job_name):
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return False
                watch.wait(min(left_s, _LOOK_S))
        return True

    def _wait_in_worker(
        self, context: Context, job_name: str, after: datetime | None, limit_s: float
    ) -> JobView | None:
        """Return the job if it was over within `limit_s` seconds; report on the way."""
        client = self.hook.get_client()
        observer = self._observe(context, client, job_name, after)
        until = time.monotonic() + limit_s
        with client.watch_job(job_name) as watch:
            while True:
                pause_s = _LOOK_S
                try:
                    view = observer.look()
                except (DamagedFileError, OSError) as error:
                    # As in the triggerer: the job goes on, and so does its wait.
                    self.log.warning("Job %s cannot be looked at now: %s", job_name, error)
                else:
                    if observer.is_over(view):
                        return view
                    if observer.has_news(view) and time.monotonic() < until:
                        self._publish(context, observer, view)
                    pause_s = observer.pause_s(view)
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return None
                watch.wait(min(left_s, pause_s))

    def _defer_until_over(
        self, context: Context, job_name: str, after: datetime | None, *, awaits_start: bool = False
    ) -> NoReturn:
        from air_executor.airflow.task_instance_try import TaskInstanceTry
        from air_executor.airflow.triggers import AirExecutorJobTrigger

        ends_itself = self.end_from_trigger
        if ends_itself and self.outlets:
            self.log.warning("end_from_trigger has no effect: only a worker can tell of the task's outlets")
            ends_itself = False
        trigger = AirExecutorJobTrigger(
            job_name=job_name,
            base_path=str(self.hook.get_client().base_path),
            who=dataclasses.asdict(TaskInstanceTry.of(context["ti"])),
            after=after.isoformat() if after else None,
            report_interval=self._report_interval_s,
            cancels_job=self._cancels_job,
            end_from_trigger=ends_itself,
            pushes_result=self.do_xcom_push,
            pull_results=self.pull_results if isinstance(self.pull_results, bool) else sorted(self.pull_results),
            max_results_bytes=self.max_results_bytes,
            awaits_start=awaits_start,
        )
        self.log.info("Job %s is not over: waiting for it in the triggerer", job_name)
        if self._deadline is None:
            self.defer(trigger=trigger, method_name="execute_complete")
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            kwargs={"deadline": self._deadline.isoformat()},
            timeout=timedelta(seconds=max(self._left_s(), 0.0)),
        )

    def _observe(
        self, context: Context, client: AirExecutorClient, job_name: str, after: datetime | None
    ) -> JobObserver:
        from air_executor.airflow.task_instance_try import TaskInstanceTry

        who = TaskInstanceTry.of(context["ti"])
        self._waited_for = client, job_name, who
        return JobObserver(
            client,
            job_name,
            after=after,
            report_interval_s=self._report_interval_s,
            tags={"dag_id": who.dag_id, "task_id": who.task_id},
        )

    def _publish(self, context: Context, observer: JobObserver, view: JobView) -> None:
        news = observer.tell(view)
        self.log.info("%s", news.report)
        for key, value in news.xcoms.items():
            context["ti"].xcom_push(key=key, value=value)

    def _finish(self, context: Context, view: JobView) -> Any:
        """Return the summary of a job that is over.

        :raises AirflowException: it failed; Airflow's retries run again what failed.
        :raises AirflowFailException: somebody cancelled it, and so does not want it run again.
        """
        client = self.hook.get_client()
        self._publish(context, self._observe(context, client, view.name, None), view)
        if view.state is JobState.COMPLETED:
            return make_summary(client, view, results_of=self.pull_results, max_results_bytes=self.max_results_bytes)
        message = explain_failure(view, read_glances(client, view.name))
        raise (AirflowFailException if view.state is JobState.CANCELLED else AirflowException)(message)


def _explain_missing(client: AirExecutorClient, job_name: str) -> str:
    seen = f"the triggerer sees no job {job_name} under {client.base_path}"
    if is_there(client, job_name):
        return f"{seen}: workers and triggerer must see the same directory"
    return f"{seen}, nor does this worker: it was removed, or never submitted"
