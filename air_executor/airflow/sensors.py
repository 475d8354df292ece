"""A sensor that waits for the end of a job, whoever submitted it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from air_executor.airflow.sdk_compat import AirflowSensorTimeout, conf
from air_executor.airflow.waiting import WaitsForJob, find_deadline

if TYPE_CHECKING:
    from airflow.sdk import Context

    from air_executor.client import JobView


class AirExecutorJobSensor(WaitsForJob, BaseSensorOperator):
    """Waits until a job has completed; fails if it failed or was cancelled. One that is not there yet is waited for, too.

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
        self._deadline = find_deadline(self.timeout)
        is_there, view = self._watch(context, min(self._defer_after_s, self.timeout))
        if view is not None:
            return self._end(context, view)
        return self._defer_until_over(context, self.job_name, None, awaits_start=not is_there)

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once; in mode `poke`, wait for the end."""
        _, view = self._watch(context, 0.0 if self.reschedule else self.timeout)
        return False if view is None else PokeReturnValue(True, self._end(context, view))

    def _watch(self, context: Context, limit_s: float) -> tuple[bool, JobView | None]:
        """Return whether the job was there within `limit_s` seconds, and the job if it was over."""
        until = time.monotonic() + limit_s
        if not self._await_start(self.job_name, limit_s):
            return False, None
        return True, self._wait_in_worker(context, self.job_name, None, until - time.monotonic())

    def _end(self, context: Context, view: JobView) -> Any:
        # As after a deferral, in each mode: Airflow's sensors heed `soft_fail` and `never_fail` there.
        return self.resume_execution("_finish", {"view": view}, context)

    def _give_up(self, context: Context, job_name: str) -> NoReturn:  # noqa: ARG002 # the operator's needs it
        raise AirflowSensorTimeout(f"Air-Executor job {job_name} was not over within {self.timeout:g} s")
