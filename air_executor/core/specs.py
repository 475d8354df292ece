"""What somebody asks for: the immutable specs of tasks and jobs, and what makes them valid."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from air_executor.core.names import check_job_name, check_task_id, is_plain_name
from air_executor.errors import InvalidJobError

Seconds = Annotated[float, msgspec.Meta(ge=0, le=10 * 365 * 86400)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0, le=10 * 365 * 86400)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Priority = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)]
RunnerKind = Literal["command", "airflow"]


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One task as asked for; all but `id` and `command` may be left out."""

    id: str
    command: str
    args: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    """Ids of tasks of the same job that must complete first."""
    runner: RunnerKind = "command"
    """`command` is executed; `airflow` is a workload that a warm parent runs."""
    workload: str | None = None
    """File name, in the job's directory, of an Airflow workload; the runner removes it when it has read it."""
    cwd: str | None = None
    """Working directory, absolute; None means the one of the job's environment, else the manager's."""
    env: dict[str, str] = {}
    """Environment variables on top of the job's environment. People read tasks.json: no secrets here."""
    timeout_s: PositiveSeconds | None = None
    """One attempt may take this long; then its process tree is ended and the attempt has failed."""
    memory_limit_bytes: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """The attempt's processes together may use this much memory."""
    retries: Count = 0
    """How often a failed or lost attempt is followed by another one."""
    retry_delay_s: Seconds = 0.0
    """Pause before the first retry."""
    retry_backoff: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.0
    """Each further pause is the last one times this."""
    max_retry_delay_s: Seconds = 86400.0
    """No pause is longer."""
    priority: Priority = 0
    """Higher starts first among the tasks of its job."""
    keep_processes: bool = False
    """Leave running what the task leaves running; by default all of it is ended with the task."""


class JobOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a job is to be run; every field may be left out."""

    max_parallel: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """At most this many of its tasks at once; 1 gives the single runner per job."""
    priority: Priority = 0
    """Jobs of higher priority get free slots first."""
    fail_fast: bool = False
    """The first failed task that is not tolerated cancels all others."""
    tolerated_failures: Count = 0
    """The job completes although up to this many tasks failed."""
    is_open: bool = False
    """Wait for more tasks until somebody closes the job."""
    durable: bool = True
    """Survive a power cut. False where another system keeps the record, as Airflow's database does for its tasks."""
    announce: bool = False
    """Leave an empty file in `ended/` when the job has ended, for an executor that waits for it."""
    environment: str | None = None
    """Digest of a file in `environments/`: the interpreter, variables and working directory its tasks start with."""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job as asked for."""

    name: str
    tasks: tuple[TaskSpec, ...]
    options: JobOptions = JobOptions()
    labels: dict[str, str] = {}
    """For people and other systems; the engine does not read them."""


def check_job(spec: JobSpec) -> JobSpec:
    """Return `spec` if its names and ids are allowed; the graph is checked by `graph.check_order`.

    :raises InvalidNameError: a name or id is not allowed.
    :raises InvalidJobError: an id occurs twice, or there is no task in a job that is not open.
    """
    check_job_name(spec.name)
    if not spec.tasks and not spec.options.is_open:
        raise InvalidJobError(f"job {spec.name}: tasks.json holds no task; give it at least one, or submit it open")
    check_tasks(spec.tasks)
    return spec


def check_tasks(tasks: tuple[TaskSpec, ...]) -> None:
    """Check ids and commands of tasks that arrive together.

    :raises InvalidNameError: an id is not allowed.
    :raises InvalidJobError: an id occurs twice, or a task cannot run with what it holds.
    """
    seen: set[str] = set()
    for task in tasks:
        check_task_id(task.id)
        if task.id in seen:
            raise InvalidJobError(f"task id {task.id!r} occurs twice; ids are unique within a job")
        seen.add(task.id)
        if not task.command.strip():
            raise InvalidJobError(f"task {task.id!r}: `command` is empty")
        text = " ".join((task.command, *task.args, *task.env, *task.env.values(), task.cwd or ""))
        if "\0" in text:
            raise InvalidJobError(f"task {task.id!r}: command, arguments and environment cannot hold a zero byte")
        if not _is_unicode(text):
            raise InvalidJobError(f"task {task.id!r}: command, arguments and environment must be Unicode text")
        for name in task.env:
            if not name or "=" in name:
                raise InvalidJobError(f"task {task.id!r}: `env`: {name!r} cannot be the name of a variable")
        if task.workload is not None and not is_plain_name(task.workload):
            # It is read and removed: only a file of the job itself.
            raise InvalidJobError(f"task {task.id!r}: `workload` must be the name of a file in the job's directory")
        if task.cwd is not None and not task.cwd.startswith("/"):
            raise InvalidJobError(f"task {task.id!r}: `cwd` must be an absolute path, not {task.cwd!r}")


def _is_unicode(text: str) -> bool:
    # A surrogate stands for a byte that is not UTF-8, as in arguments that a shell passes on: JSON cannot hold it.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
