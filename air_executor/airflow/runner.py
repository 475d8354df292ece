"""What happens in the process that a warm parent forks for one workload: read it, run it, say how it ended.

The workload's token stays in memory: no message made here holds any part of the workload but names.
"""

from __future__ import annotations

import base64
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from air_executor.airflow import compat, exit_codes, task_log
from air_executor.airflow.environment_snapshot import TEAM_VARIABLE
from air_executor.airflow.supervision import Supervision
from air_executor.airflow.task_ahead import TaskAhead
from air_executor.process.protocol import Launch


class WorkloadRunner:
    """Runs workloads; made once in the warm parent, called once in each fork."""

    def __init__(self, supervision: Supervision) -> None:
        """Prepare what each fork would otherwise do again."""
        self._supervision = supervision
        self._decoder = compat.make_workload_decoder()
        self.task_ahead = TaskAhead(_awaken)

    def get_ready(self, descriptor: int) -> Callable[[], None]:
        """Do what can be done before the launch comes, see `fork_runner.GetReady`."""
        compat.set_title("air-executor runner: waits for a task")
        self.task_ahead.fork(descriptor)
        return self.task_ahead.end

    def __call__(self, launch: Launch) -> int:
        """Run the workload of `launch`; return the runner's exit code."""
        _awaken()
        try:
            workload = self._take(launch.workload_path)
        except _UnreadableWorkloadError as error:
            _print_error(str(error))
            return exit_codes.UNREADABLE_WORKLOAD
        code = self._run(workload)
        if self._supervision.was_stopped_by_server:
            return exit_codes.STOPPED_BY_SERVER
        if self._supervision.goes_on_later:
            # Whatever became of its process after that: it may be scheduled already, and must not be failed.
            return 0
        return code

    def _take(self, path: str | None) -> Any:
        if path is None:
            raise _UnreadableWorkloadError("the task names no workload file; submit it through the executor")
        try:
            with open(path, "rb") as file:
                text = file.read()
            # At once: it holds a token, and nobody else needs it.
            os.unlink(path)
        except OSError as error:
            raise _UnreadableWorkloadError(f"the workload {path} cannot be read: {error.strerror}") from None
        try:
            return self._decoder.validate_json(text)
        except ValueError as error:
            raise _UnreadableWorkloadError(f"the workload {path} is not valid: {_describe_invalid(error)}") from None

    def _run(self, workload: Any) -> int:
        if compat.get_kind(workload) != compat.KIND_TASK:
            # What it runs may wait for all children of this process.
            self.task_ahead.end()
        try:
            team_conf = compat.make_team_conf(os.environ.get(TEAM_VARIABLE))
            code = compat.run_workload(
                workload, server=compat.find_execution_api_url(team_conf), title=_make_title(workload)
            )
        except Exception as error:
            if self._supervision.has_started and compat.is_gone(error):
                _print_error("the task instance was cleared or deleted while it ran")
                return exit_codes.STOPPED_BY_SERVER
            return _report(workload, error)
        return exit_codes.from_supervisor(code)


class _UnreadableWorkloadError(Exception):
    """The workload cannot be read: clear the task instance, so that it is queued anew."""


def _report(workload: Any, error: Exception) -> int:
    if compat.is_superseded(error):
        _print_error(f"superseded: the task instance runs elsewhere, was changed, or is gone ({type(error).__name__})")
        return exit_codes.SUPERSEDED
    # An error may quote what it was given: whatever it is, the token is cut out.
    reason = _mask(workload, _explain(workload, error))
    details = _mask(workload, "".join(traceback.format_exception(type(error), error, error.__traceback__)))
    task_log.append_event(getattr(workload, "log_path", None), f"{reason}\n{details}")
    # The reason comes last: the executor reads it from there.
    print(details, file=sys.stderr)
    _print_error(reason)
    return exit_codes.COULD_NOT_RUN


def _explain(workload: Any, error: Exception) -> str:
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if not compat.is_refused_token(error):
        return f"the workload could not be run: {what}"
    expired_s = _find_expired_s(workload.token)
    if expired_s is not None and expired_s > 0:
        return (
            f"the workload's token expired {expired_s:.0f} s before it could start: it waited for a slot or a manager "
            "for longer than [scheduler] task_queued_timeout. Give the manager more slots, or raise that timeout"
        )
    return (
        f"the execution API refused the workload's token ({what}): [api_auth] jwt_secret must be the same for "
        "scheduler and API server"
    )


def _find_expired_s(token: str) -> float | None:
    """Return for how long a token has been out of date, None if that cannot be told. Reads, does not verify."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return time.time() - float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _describe_invalid(error: ValueError) -> str:
    # Not str(error): pydantic prints the input, and the token is part of it.
    errors: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if errors is None:
        return type(error).__name__
    found = errors(include_input=False, include_url=False, include_context=False)[:3]
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}" for item in found)


def _mask(workload: Any, text: str) -> str:
    return text.replace(workload.token, "***") if workload.token else text


def _make_title(workload: Any) -> str:
    name = getattr(workload, "display_name", None) or getattr(getattr(workload, "ti", None), "id", "")
    return f"air-executor runner: {name}"


def _awaken() -> None:
    """Be no warm parent any more."""
    # It collects no garbage, so as not to touch shared pages; a task may run for days.
    gc.enable()
    _reseed()


def _reseed() -> None:
    # Python reseeds its own generator after a fork; numpy does not, and all tasks would draw the same numbers.
    # By its full name: numpy loads that part only when it is asked for, and seeds it then.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _print_error(reason: str) -> None:
    print(f"air-executor: {reason}", file=sys.stderr, flush=True)
