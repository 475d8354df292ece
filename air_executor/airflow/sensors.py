"""A sensor that waits for the end of a job, whoever submitted it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from air_executor.airflow.sdk_compat import conf
from air_executor.airflow.waiting import WaitsForJob

if TYPE_CHECKING:
    from airflow.sdk import Context


class AirExecutorJobSensor(WaitsForJob, BaseSensorOperator):
    """Waits until a job has completed; fails if it failed or was cancelled.

    In mode `poke` it is woken by file events, so it succeeds the moment the job ends; `poke_interval` then has no effect. In
    mode `reschedule` it looks every `poke_interval` seconds. With `deferrable` it waits in the triggerer.

    :param job_name: name of the job.
    :param conn_id: connection of type `air_executor`; the default one need not exist.
    :param deferrable: wait in the triggerer; default: `[operators] default_deferrable`.
    :param defer_after, report_interval, pull_results, max_results_bytes, end_from_trigger: as of `AirExecutorJobOperator`.
    """

    template_fields: Sequence[str] = ("job_name",)
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        job_name: str,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Wait."""
        if not self.deferrable:
            return super().execute(context)
        begun = time.monotonic()
        if self._wait_in_worker(context, self.job_name, None, min(self._defer_after_s, self.timeout)):
            return self._end(context)
        left_s = max(self.timeout - (time.monotonic() - begun), 0.0)
        return self._defer_until_over(context, self.job_name, None, left_s)

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once; in mode `poke`, wait for the end."""
        limit_s = 0.0 if self.reschedule else self.timeout
        if self._wait_in_worker(context, self.job_name, None, limit_s):
            return PokeReturnValue(True, self._end(context))
        return False

    def _end(self, context: Context) -> Any:
        # As after a deferral, in each mode: Airflow's sensors heed `soft_fail` and `never_fail` there.
        return self.resume_execution("execute_complete", {"event": {"job_name": self.job_name}}, context)
