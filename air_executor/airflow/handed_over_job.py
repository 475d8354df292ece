"""The job to which a task instance hands its work over, over all tries of it: submit, attach to it, or run again what failed.

A job is never started beside one of the same task instance that is not over, and what completed is run again only for
somebody who cleared a task that had taken its results.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from air_executor.airflow import job_names, try_note
from air_executor.airflow.task_instance_try import TaskInstanceTry
from air_executor.airflow.try_note import TryNote
from air_executor.core.specs import JobSpec, check_job
from air_executor.core.states import JobState
from air_executor.errors import InvalidJobError, JobExistsError, JobNotFinishedError, JobNotFoundError

if TYPE_CHECKING:
    from air_executor.client import AirExecutorClient, JobView

_CANCEL_WAIT_S = 60.0
_WORK = "work"
"""Label: a digest of what the job was asked for."""
_WORK_LENGTH = 16


class Step(Enum):
    """What a try does about the job of its task instance."""

    SUBMIT = "submitted as"
    """There is none."""
    ATTACH = "attached to"
    """It is not over."""
    RETRY = "running again what did not complete of"
    """It failed or was cancelled."""
    TAKE = "taking the results of"
    """It completed, and no try has taken its results."""
    SUBMIT_NEXT = "submitted anew as"
    """It completed, a try took its results, and somebody cleared the task since; or it cannot be run again."""


@dataclasses.dataclass(frozen=True)
class HandOver:
    """The job that now has the work."""

    job_name: str
    step: Step
    after: datetime | None = None
    """An end that state.json tells of and that is not later than this is the one before the job was run again."""


def hand_over(
    client: AirExecutorClient,
    who: TaskInstanceTry,
    spec: JobSpec,
    attachments: Mapping[str, bytes] | None = None,
    *,
    force_new: bool = False,
) -> HandOver:
    """Give `spec` to Air-Executor, once: a job that an earlier try handed over goes on instead.

    :param force_new: start a new job whatever there is; an earlier one of this task instance is cancelled,
        and ends, before.
    :raises InvalidJobError: a task or option is not valid (also InvalidNameError).
    :raises JobExistsError: the name belongs to somebody else's job.
    :raises JobNotFinishedError: the earlier job that is to end does not.
    :raises SubmissionError: it could not be written.
    """
    work = _digest_work(check_job(spec))
    spec = msgspec.structs.replace(spec, labels={**spec.labels, **who.labels, _WORK: work})
    number, view = _find_newest(client, spec.name)
    if view is None:
        return HandOver(client.submit(spec, attachments), Step.SUBMIT)
    if not who.owns(view):
        raise JobExistsError(
            f"job {view.name} exists and was not handed over by this task instance (its labels: {view.labels}): "
            "give job_name something that differs from run to run, as {{ run_id }}, or leave it out"
        )
    following = msgspec.structs.replace(spec, name=job_names.make_successor(spec.name, number + 1))
    if force_new:
        _end(client, view, f"try {who.try_number} of its task instance starts a new job")
        return HandOver(client.submit(following, attachments), Step.SUBMIT_NEXT)
    note = try_note.read_note(client.job_path(view.name))
    if note is not None and note.was_cancelled and note.try_number < who.try_number and not view.state.is_terminal:
        # The try before this one was killed a moment ago: what it cancelled is still ending.
        view = client.wait(view.name, _CANCEL_WAIT_S)
    step = choose_step(view, note, who, is_same_work=view.labels.get(_WORK) == work)
    if step is Step.SUBMIT_NEXT:
        return HandOver(client.submit(following, attachments), step)
    if step is Step.RETRY:
        try:
            return _run_again(client, view)
        except InvalidJobError:
            # Its files are not valid, or nothing in it can run again.
            return HandOver(client.submit(following, attachments), Step.SUBMIT_NEXT)
    return HandOver(view.name, step)


def go_on_after_kill(client: AirExecutorClient, view: JobView, who: TaskInstanceTry) -> HandOver | None:
    """Run a cancelled job again if that was meant for an earlier try, which this one overtook; None if it was not.

    Airflow starts the next try of a cleared task at once, and tells the trigger of the last one a second later.
    """
    note = try_note.read_note(client.job_path(view.name))
    if view.state is not JobState.CANCELLED or note is None or not note.was_cancelled:
        return None
    return _run_again(client, view) if note.try_number < who.try_number else None


def choose_step(view: JobView, note: TryNote | None, who: TaskInstanceTry, *, is_same_work: bool = True) -> Step:
    """Return what a try does, given the newest job of its task instance and the note in it.

    :param is_same_work: what is asked for now is what that job was asked for.
    """
    if not view.state.is_terminal:
        return Step.ATTACH
    if view.state is JobState.COMPLETED:
        was_taken = note is not None and not note.was_cancelled
        return Step.SUBMIT_NEXT if was_taken and note and who.max_tries > note.max_tries else Step.TAKE
    # Whoever mends the DAG file and clears the task wants what it says now.
    return Step.RETRY if is_same_work else Step.SUBMIT_NEXT


def note_taken(client: AirExecutorClient, job_name: str, who: TaskInstanceTry) -> None:
    """Note that this try took the results of a job, or has handed it over for good.

    :raises OSError: it could not be written.
    """
    try_note.write_note(client.job_path(job_name), TryNote(try_number=who.try_number, max_tries=who.max_tries))


def cancel_for(client: AirExecutorClient, job_name: str, who: TaskInstanceTry, reason: str) -> None:
    """Cancel a job because the try that waits for it is ended; a later try runs again what did not complete.

    :raises JobNotFoundError: there is no such job.
    """
    if client.job(job_name).state.is_terminal:
        return
    note = TryNote(try_number=who.try_number, max_tries=who.max_tries, was_cancelled=True)
    # First, so that whoever comes next waits for the end of this job instead of attaching to it.
    try_note.write_note(client.job_path(job_name), note)
    client.cancel(job_name, reason)


def _end(client: AirExecutorClient, view: JobView, reason: str) -> None:
    if view.state.is_terminal:
        return
    client.cancel(view.name, reason)
    if not client.wait(view.name, _CANCEL_WAIT_S).state.is_terminal:
        raise JobNotFinishedError(
            f"job {view.name} was cancelled because {reason}, and is not over after {_CANCEL_WAIT_S:g} s: nothing was submitted, "
            f"so that nothing runs twice; `air-executor --base-path {client.base_path} manager status` tells whether a manager runs"
        )


def _run_again(client: AirExecutorClient, view: JobView) -> HandOver:
    # First: who cancels the job from now on means it.
    try_note.remove_note(client.job_path(view.name))
    client.retry(view.name)
    return HandOver(view.name, Step.RETRY, after=view.updated_at)


def _find_newest(client: AirExecutorClient, name: str) -> tuple[int, JobView | None]:
    """Return the highest number among the jobs that bear `name`, and the newest of them; with none, 0 and None."""
    numbers = (job_names.find_number(job_name, name) for job_name in client.job_names())
    # Earlier ones may lie in the archive, or be gone.
    number = max((number for number in numbers if number is not None), default=1)
    try:
        view = client.job(job_names.make_successor(name, number))
    except JobNotFoundError:
        return 0, None
    newest = view
    while True:
        try:
            view = client.job(job_names.make_successor(name, number + 1))
        except JobNotFoundError:
            return number, newest
        number += 1
        # Where the first ones were removed, their names are given again, beside later ones in the archive.
        newest = view if view.created_at >= newest.created_at else newest


def _digest_work(spec: JobSpec) -> str:
    """Return what is the same for two specs that ask for the same tasks and options."""
    # Each try may have variables of its own.
    options = msgspec.structs.replace(spec.options, environment=None)
    content = msgspec.json.encode((spec.tasks, options), order="deterministic")
    return hashlib.sha256(content).hexdigest()[:_WORK_LENGTH]
