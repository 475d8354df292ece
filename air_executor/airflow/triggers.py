"""The trigger that waits for a job's end in the triggerer: on file events, not by sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from air_executor.airflow.handed_over_job import TaskInstanceTry, cancel_for
from air_executor.airflow.job_observer import DEFAULT_REPORT_INTERVAL_S, JobObserver
from air_executor.airflow.job_summary import DEFAULT_MAX_RESULTS_BYTES
from air_executor.errors import JobNotFoundError

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient


class AirExecutorJobTrigger(BaseTrigger):
    """Fires when a job is over."""

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
        pull_results: bool | list[str] = True,
        max_results_bytes: int = DEFAULT_MAX_RESULTS_BYTES,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's
        self.job_name = job_name
        self.base_path = base_path
        self.who = TaskInstanceTry(**who)
        self._arguments: dict[str, Any] = {
            "job_name": job_name,
            "base_path": base_path,
            "who": who,
            "after": after,
            "report_interval": report_interval,
            "cancels_job": cancels_job,
            "end_from_trigger": end_from_trigger,
            "pull_results": pull_results,
            "max_results_bytes": max_results_bytes,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on."""
        return f"{__name__}.{type(self).__name__}", dict(self._arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the job."""
        client = _open(self.base_path)
        after = self._arguments["after"]
        observer = JobObserver(
            client,
            self.job_name,
            after=datetime.fromisoformat(after) if after else None,
            report_interval_s=self._arguments["report_interval"],
        )
        while True:
            try:
                view = observer.look()
            except JobNotFoundError:
                break
            if observer.is_over(view):
                break
            if observer.has_news(view):
                news = await asyncio.to_thread(observer.tell, view)
                self.log.info("%s", news.report)
            await asyncio.sleep(0.5)
        yield TriggerEvent({"job_name": self.job_name})  # type: ignore[no-untyped-call] # Airflow's

    async def on_kill(self) -> None:
        """Cancel the job: somebody cleared or marked the task while it was deferred."""
        if self._arguments["cancels_job"]:
            reason = f"its task in Airflow was ended (try {self.who.try_number})"
            await asyncio.to_thread(cancel_for, _open(self.base_path), self.job_name, self.who, reason)


@lru_cache(maxsize=8)
def _open(base_path: str) -> AirExecutorClient:
    from air_executor.client import AirExecutorClient

    return AirExecutorClient(base_path)
