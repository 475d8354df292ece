"""The trigger that waits for a job's end in the triggerer: on file events, not by sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent

from air_executor.airflow.bells import Bells
from air_executor.airflow.handed_over_job import cancel_for, note_taken
from air_executor.airflow.job_observer import DEFAULT_REPORT_INTERVAL_S, JobObserver, is_there, read_glances
from air_executor.airflow.job_summary import DEFAULT_MAX_RESULTS_BYTES, explain_failure, make_summary
from air_executor.airflow.prompt_event import send_events
from air_executor.airflow.task_instance_try import TaskInstanceTry
from air_executor.airflow.trigger_comms import finish_anyway, has_left, push_xcoms
from air_executor.core.states import JobState
from air_executor.errors import DamagedFileError, JobNotFoundError, RootError

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView

_LOOK_S = 10.0
_LOOK_WITHOUT_EVENTS_S = 1.0
_CALM_S = 0.1
"""Between two looks at a job, however often it changes."""
_PUSH_AFTER_S = 30.0
"""Shorter waits push no XCom: for the first one the triggerer builds Airflow's API in its own process, for seconds."""
_PUSH_SPACING_S = 5.0
"""Between the XComs of two jobs: the triggerer writes each itself, which takes it more than ten milliseconds."""

_bells = Bells()
_next_push_at = 0.0


class AirExecutorJobTrigger(BaseTrigger):
    """Fires when a job is over. Reports progress in the task's log, and in XCom, on the way."""

    def __init__(
        self,
        *,
        job_name: str,
        base_path: str,
        who: dict[str, Any],
        after: str | None = None,
        report_interval: float = DEFAULT_REPORT_INTERVAL_S,
        cancels_job: bool = False,
        end_from_trigger: bool = False,
        pushes_result: bool = True,
        pull_results: bool | list[str] = True,
        max_results_bytes: int = DEFAULT_MAX_RESULTS_BYTES,
        awaits_start: bool = False,
    ) -> None:
        """Wait for a job under `base_path`.

        :param who: fields of the `TaskInstanceTry` that waits.
        :param after: ISO 8601; an end that is not later is the one before the job was run again.
        :param cancels_job: cancel the job when somebody clears or marks the task.
        :param end_from_trigger: end the task from here, without a worker; a job that was cancelled still takes one.
        :param pushes_result: store the summary as XCom when it ends from here.
        :param awaits_start: the job need not be there yet. Otherwise a job that is not to be seen is missing, and the event
            says so: a worker then tells the person.
        """
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's
        self.job_name = job_name
        self.base_path = base_path
        self.who = TaskInstanceTry(**who)
        self.cancels_job = cancels_job
        self.end_from_trigger = end_from_trigger
        self._after = after
        self._pushes_result = pushes_result
        self._report_interval = report_interval
        self._pull_results = pull_results
        self._max_results_bytes = max_results_bytes
        self._awaits_start = awaits_start
        self._pushed: dict[str, Any] = {}
        self._push_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on."""
        return f"{__name__}.{type(self).__name__}", {
            "job_name": self.job_name,
            "base_path": self.base_path,
            "who": {name: getattr(self.who, name) for name in self.who.__dataclass_fields__},
            "after": self._after,
            "report_interval": self._report_interval,
            "cancels_job": self.cancels_job,
            "end_from_trigger": self.end_from_trigger,
            "pushes_result": self._pushes_result,
            "pull_results": self._pull_results,
            "max_results_bytes": self._max_results_bytes,
            "awaits_start": self._awaits_start,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the job, and fire."""
        try:
            client = _open(self.base_path)
        except RootError as error:
            self.log.error("The triggerer cannot use the base path: %s", error)
            yield self._tell_missing()
            return
        self._push_at = time.monotonic() + _PUSH_AFTER_S
        observer = JobObserver(
            client,
            self.job_name,
            after=datetime.fromisoformat(self._after) if self._after else None,
            report_interval_s=self._report_interval,
            tags={"dag_id": self.who.dag_id, "task_id": self.who.task_id},
        )
        try:
            if self._awaits_start:
                await self._await_start(client)
            view = await self._wait(client, observer)
        except asyncio.CancelledError:
            if self.cancels_job and not hasattr(BaseTrigger, "on_kill"):
                await self._cancel_if_left()
            raise
        yield await self._make_event(client, observer, view)
        # Airflow has it in its list now, and would send it within a second.
        await finish_anyway(send_events())

    async def on_kill(self) -> None:
        """Cancel the job: somebody cleared or marked the task while it was deferred. Called since Airflow 3.3."""
        if self.cancels_job:
            reason = f"its task in Airflow was ended (try {self.who.try_number})"
            await asyncio.to_thread(cancel_for, _open(self.base_path), self.job_name, self.who, reason)

    async def _await_start(self, client: AirExecutorClient) -> None:
        async with _bells.hang(client.base_path / "jobs", self.job_name) as bell:
            while not is_there(client, self.job_name):
                await bell.wait(_LOOK_S if bell.is_live else _LOOK_WITHOUT_EVENTS_S)

    async def _wait(self, client: AirExecutorClient, observer: JobObserver) -> JobView | None:
        """Return the job when it is over; None if it is gone."""
        async with _bells.hang(client.job_path(self.job_name)) as bell:
            look_s = _LOOK_S if bell.is_live else _LOOK_WITHOUT_EVENTS_S
            while True:
                # After the bell was hung, or rang: what changes from now on rings it again.
                pause_s = look_s
                try:
                    view = observer.look()
                except JobNotFoundError:
                    return None
                except (DamagedFileError, OSError) as error:
                    # A descriptor too many, a network disk that is away: the job goes on, and so does its wait.
                    self.log.warning("job %s cannot be looked at now: %s", self.job_name, error)
                else:
                    if observer.is_over(view):
                        return view
                    if observer.has_news(view):
                        await self._publish(observer, view)
                    pause_s = min(look_s, observer.pause_s(view))
                await asyncio.sleep(_CALM_S)
                await bell.wait(pause_s)

    async def _publish(self, observer: JobObserver, view: JobView) -> None:
        global _next_push_at
        # It reads tasks.json, which may be long: other triggers run on meanwhile.
        news = await asyncio.to_thread(observer.tell, view)
        self.log.info("%s", news.report)
        if time.monotonic() < max(self._push_at, _next_push_at):
            return
        _next_push_at = time.monotonic() + _PUSH_SPACING_S
        changed = {key: value for key, value in news.xcoms.items() if self._pushed.get(key) != value}
        try:
            await push_xcoms(self.who, changed)
            self._pushed.update(changed)
        except Exception as error:
            # The worker pushes the final ones.
            self.log.debug("Airflow did not take the XComs of job %s: %s", self.job_name, error)

    async def _make_event(self, client: AirExecutorClient, observer: JobObserver, view: JobView | None) -> TriggerEvent:
        go_on = TriggerEvent({"job_name": self.job_name})  # type: ignore[no-untyped-call] # Airflow's
        if view is None:
            return self._tell_missing()
        # A cancelled job must not be retried, and only a worker can say that.
        if not self.end_from_trigger or view.state is JobState.CANCELLED:
            return go_on
        news = await asyncio.to_thread(observer.tell, view)
        self.log.info("%s", news.report)
        if view.state is not JobState.COMPLETED:
            tasks = await asyncio.to_thread(read_glances, client, self.job_name)
            self.log.error("%s", explain_failure(view, tasks))
            return TaskFailedEvent()
        try:
            await self._hand_back(client, view)
        except Exception as error:
            self.log.warning("A worker has to end this task, because its result could not be stored: %s", error)
            return go_on
        return TaskSuccessEvent()

    def _tell_missing(self) -> TriggerEvent:
        return TriggerEvent({"job_name": self.job_name, "missing": True})  # type: ignore[no-untyped-call] # Airflow's

    async def _hand_back(self, client: AirExecutorClient, view: JobView) -> None:
        if self._pushes_result:
            summary = await asyncio.to_thread(
                make_summary, client, view, results_of=self._pull_results, max_results_bytes=self._max_results_bytes
            )
            # Not as XComs of the event: Airflow would hand on their JSON as text.
            await push_xcoms(self.who, {"return_value": summary})
        if self.cancels_job:
            await asyncio.to_thread(note_taken, client, self.job_name, self.who)

    async def _cancel_if_left(self) -> None:
        """Do as `on_kill` where Airflow does not tell a person's act from the end of the triggerer: ask for the state."""
        try:
            if await has_left(self.who):
                await self.on_kill()
        except Exception as error:
            self.log.warning("Job %s may run on: %s", self.job_name, error)


@lru_cache(maxsize=8)
def _open(base_path: str) -> AirExecutorClient:
    from air_executor.client import AirExecutorClient

    # A triggerer that does not see the workers' directory must not make an empty one of its own.
    return AirExecutorClient(base_path, create=False)
