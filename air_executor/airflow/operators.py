"""Operators that hand work over to Air-Executor: submit a job, or submit it and wait for its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from air_executor.airflow import sdk_compat
from air_executor.airflow.hook import DEFAULT_CONN_ID, AirExecutorHook
from air_executor.airflow.links import AirExecutorJobLink
from air_executor.airflow.sdk_compat import AirflowException, TaskDeferralTimeout
from air_executor.airflow.waiting import Duration, WaitsForJob, find_deadline, seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from air_executor.airflow.handed_over_job import HandOver
    from air_executor.airflow.task_instance_try import TaskInstanceTry
    from air_executor.client import JobView
    from air_executor.core.specs import JobOptions


class _SubmitsJob(BaseOperator):
    """What both operators do first."""

    template_fields: Sequence[str] = ("tasks", "job_name", "options")
    template_fields_renderers = {"tasks": "json", "options": "json"}  # noqa: RUF012 # Airflow's convention
    operator_extra_links = (AirExecutorJobLink(),)
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        tasks: Any,
        job_name: str | None = None,
        options: Mapping[str, Any] | JobOptions | None = None,
        max_parallel: int | None = None,
        priority: int | None = None,
        fail_fast: bool | None = None,
        tolerated_failures: int | None = None,
        conn_id: str = DEFAULT_CONN_ID,
        force_new: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = tasks
        self.job_name = job_name
        self.options = options
        self.max_parallel = max_parallel
        self.priority = priority
        self.fail_fast = fail_fast
        self.tolerated_failures = tolerated_failures
        self.conn_id = conn_id
        self.force_new = force_new

    @property
    def hook(self) -> AirExecutorHook:
        """Return a hook for the connection."""
        return AirExecutorHook(self.conn_id)

    def _hand_over(self, context: Context, attachments: Mapping[str, bytes] | None = None) -> HandOver:
        """Submit the job, or go on with the one that an earlier try of this task instance submitted."""
        from air_executor.airflow import handed_over_job, job_names
        from air_executor.airflow.job_input import make_specs
        from air_executor.core.specs import JobSpec

        ti = context["ti"]
        who = _who(context)
        hook = self.hook
        client = hook.get_client()
        hook.need_manager()
        options = self._make_options(hook)
        name = self.job_name or job_names.make_hand_over_name(who.dag_id, who.task_id, who.run_id, who.map_index)
        spec = JobSpec(name=name, tasks=make_specs(self.tasks), options=options)
        handed = handed_over_job.hand_over(client, who, spec, attachments, force_new=self.force_new)
        self.log.info("Work %s job %s (base path %s)", handed.step.value, handed.job_name, client.base_path)
        ti.xcom_push(key="job_name", value=handed.job_name)
        AirExecutorJobLink.show(ti, handed.job_name)
        return handed

    def _make_options(self, hook: AirExecutorHook) -> JobOptions:
        import msgspec

        from air_executor.airflow.job_input import make_options
        from air_executor.core.specs import JobOptions

        given = self.options or {}
        if isinstance(given, JobOptions):
            given = {name: getattr(given, name) for name in JobOptions.__struct_fields__}
        singly = {
            "max_parallel": self.max_parallel,
            "priority": self.priority,
            "fail_fast": self.fail_fast,
            "tolerated_failures": self.tolerated_failures,
        }
        options = make_options({**given, **{name: value for name, value in singly.items() if value is not None}})
        if options.environment is None:
            # What a BashOperator here would start with.
            options = msgspec.structs.replace(options, environment=hook.save_environment())
        return options


class AirExecutorSubmitOperator(_SubmitsJob):
    """Submits a job and returns its name; does not wait for it.

    :param tasks: dictionaries with the fields of `TaskSpec` (only `command` is needed), or the output of a task that
        returns such a list.
    :param job_name: by default made of dag, task, run and map index.
    :param options: fields of `JobOptions`; `max_parallel`, `priority`, `fail_fast` and `tolerated_failures` also singly.
    :param conn_id: connection of type `air_executor`; the default one need not exist.
    :param force_new: start a new job also where an earlier try's one could go on.
    """

    def execute(self, context: Context) -> str:
        """Submit the job and return its name."""
        from air_executor.airflow.handed_over_job import note_taken

        handed = self._hand_over(context)
        # With the submission this task has done its part: whoever clears it when the job is over wants a new one.
        note_taken(self.hook.get_client(), handed.job_name, _who(context))
        return handed.job_name


class AirExecutorJobOperator(WaitsForJob, _SubmitsJob):
    """Submits a job, waits for its end, and returns its summary with what its tasks left as results.

    :param tasks, job_name, options, conn_id, force_new: as of `AirExecutorSubmitOperator`.
    :param deferrable: wait in the triggerer, so that waiting holds no worker.
    :param defer_after: seconds (or a timedelta) to wait in the worker first: short jobs need no triggerer then.
    :param timeout: seconds (or a timedelta) that the job may take; then it is cancelled and the task fails.
    :param report_interval: seconds between the first progress reports in the task's log; later ones are further apart.
    :param pull_results: put results of tasks into the summary: True for all, or a list of task ids.
    :param max_results_bytes: results beyond this size, as JSON, are left out of the summary.
    :param cancel_on_kill: cancel the job when the task is killed, cleared, or marked in the web UI.
    :param end_from_trigger: have the triggerer end the task, without a worker.
    """

    def __init__(
        self,
        *,
        deferrable: bool = True,
        timeout: Duration | None = None,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self._timeout_s = float("inf") if timeout is None else seconds(timeout, "timeout")

    @property
    def _cancels_job(self) -> bool:  # type: ignore[override]
        return self.cancel_on_kill

    def execute(self, context: Context) -> Any:
        """Submit the job and wait for it."""
        return self._wait(context, self._hand_over(context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the deferral; when that took too long, cancel the job."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            job_name = sdk_compat.read_xcom(context["ti"], "job_name")
            if job_name is None:
                raise
            return self._give_up(context, job_name)

    def _wait(self, context: Context, handed: HandOver) -> Any:
        self._deadline = find_deadline(self._timeout_s)
        return self._go_on(context, handed)

    def _go_on(self, context: Context, handed: HandOver) -> Any:
        name, after = handed.job_name, handed.after
        left_s = self._left_s()
        in_worker_s = min(left_s, self._defer_after_s) if self.deferrable else left_s
        view = self._wait_in_worker(context, name, after, in_worker_s)
        if view is not None:
            return self._finish(context, view)
        if left_s <= in_worker_s:
            return self._give_up(context, name)
        return self._defer_until_over(context, name, after)

    def _give_up(self, context: Context, job_name: str) -> NoReturn:
        self._observe(context, self.hook.get_client(), job_name, None)
        self.on_kill()
        raise AirflowException(f"Air-Executor job {job_name} was not over within {self._timeout_s:g} s")

    def _finish(self, context: Context, view: JobView) -> Any:
        from air_executor.airflow.handed_over_job import go_on_after_kill, note_taken

        client = self.hook.get_client()
        again = go_on_after_kill(client, view, _who(context))
        if again is not None:
            self.log.info("Job %s was cancelled with an earlier try of this task: it runs again", view.name)
            return self._go_on(context, again)
        summary = super()._finish(context, view)
        note_taken(client, view.name, _who(context))
        return summary


def _who(context: Context) -> TaskInstanceTry:
    from air_executor.airflow.task_instance_try import TaskInstanceTry

    return TaskInstanceTry.of(context["ti"])
