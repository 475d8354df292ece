"""Rehearses a task from its start to its end: supervisor and task process, in one process, over their real sockets.

Nothing forks and nothing is executed: the command of the BashOperator is not started. What belongs to the site and
can be noticed (listeners, metrics, traces, XCom and log backends, bundles, host name) is kept out of it.
"""

from __future__ import annotations

import functools
import json
import os
import select
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import structlog

from air_executor.airflow import rehearsal, rehearsal_server, rehearsal_stage
from air_executor.airflow.rehearsal_stage import replaced
from air_executor.airflow.sdk_compat import find

TASK_IDS = ("bash_0", "python", "first")

_NO_PID = (1 << 22) + 1
"""More than Linux lets a process id be: whoever signals it reaches nobody."""

_PATIENCE = 50
"""So often the supervisor may look for what a task sent, before the rehearsal is given up."""

_BUNDLE = "rehearsal"


class RehearsalError(Exception):
    """The task did not go as tasks go: this Airflow is not as expected, tasks start as fast as without it."""


def rehearse_task() -> None:
    """Take a few tasks from start to end. Plugins must have been loaded: a task would load them.

    :raises RehearsalError: a task did not succeed.
    """
    if _is_observed():
        return
    rehearsal_stage.perform(_play_all)


def _is_observed() -> bool:
    """Claim that somebody would be told of a task even though nobody was asked to listen."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.log import load_remote_log_handler
    from opentelemetry import trace

    if getattr(load_remote_log_handler(), "processors", ()):
        # Such a backend sends each line away.
        return True
    sentry = getattr(task_runner, "Sentry", None)
    if sentry is not None and "Noop" not in type(sentry).__name__ and "Dummy" not in type(sentry).__name__:
        return True
    # Providers without it export nothing.
    return hasattr(trace.get_tracer_provider(), "force_flush")


def _play_all(directory: Path) -> None:
    file = rehearsal.write_dag_file(directory)
    _look_at_process()
    with _site_kept_out(directory), rehearsal_server.connected_client() as client:
        for _ in range(rehearsal.ROUNDS):
            for task_id in TASK_IDS:
                _play(task_id, file, client)


def _look_at_process() -> None:
    """Look at a process as a supervisor looks at its task; it is no child, so there is nothing to collect."""
    for _ in range(rehearsal.ROUNDS):
        with suppress(psutil.Error, ValueError):
            psutil.Process(os.getppid()).wait(timeout=0)


@contextmanager
def _site_kept_out(directory: Path) -> Iterator[None]:
    """Put dummies in place of what is not Airflow's own, or can be noticed."""
    from airflow import settings
    from airflow.dag_processing.bundles.local import LocalDagBundle
    from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
    from airflow.sdk.execution_time import supervisor, task_runner

    bundle = LocalDagBundle(name=_BUNDLE, path=str(directory))
    dummies: dict[str, Any] = {
        "get_listener_manager": _Silence,
        "get_hostname": lambda: "localhost",
        "DagBundlesManager": lambda: SimpleNamespace(get_bundle=lambda **_: bundle),
        "_get_worker_state_store_backend": lambda: None,
        "Stats": _Silence(),
        "stats": _Silence(),
    }
    if find(task_runner.__name__, "XCom") is not find("airflow.sdk.bases.xcom", "BaseXCom"):
        dummies["_xcom_push"] = lambda *_, **__: None
    with ExitStack() as stack:
        for owner, attributes in (
            (task_runner, {name: dummy for name, dummy in dummies.items() if hasattr(task_runner, name)}),
            (settings, {"get_airflow_context_vars": lambda _: {}}),
            (SubprocessHook, {"run_command": lambda *_, **__: SubprocessResult(0, "")}),
            (supervisor, {"_remote_logging_conn": lambda _: nullcontext()}),
            (supervisor.ActivitySubprocess, {"_upload_logs": lambda _: None}),
            (psutil, {"Process": _Nobody}),
            (os, {"fork": lambda: _NO_PID}),
        ):
            stack.enter_context(replaced(owner, **attributes))
        yield


class _Silence:
    """Listeners and metrics whom nobody told anything: has every method, and each does nothing."""

    def __getattr__(self, _: str) -> Any:
        return _Silence()

    def __call__(self, *_: Any, **__: Any) -> _Silence:
        return self

    def __enter__(self) -> _Silence:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Nobody:
    """The process that the supervisor believes to have forked: lives until told otherwise, and cannot be signalled."""

    has_ended = False

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self, timeout: float | None = None) -> int:
        if not self.has_ended:
            raise psutil.TimeoutExpired(timeout or 0, self.pid)
        return 0

    def send_signal(self, _: int) -> None:
        raise psutil.NoSuchProcess(self.pid)


def _play(task_id: str, file: Path, client: Any) -> None:
    """Take one task from start to end."""
    from airflow.sdk.execution_time import supervisor

    workload = _make_workload(task_id, file)
    with ExitStack() as stack:
        ends = _TaskEnds(stack)
        logger, log_file = supervisor._configure_logging(workload.log_path, client)
        stack.enter_context(closing(log_file))
        with replaced(supervisor, socketpair=ends.make_pair):
            supervised = supervisor.ActivitySubprocess.start(
                what=workload.ti,
                dag_rel_path=workload.dag_rel_path,
                bundle_info=workload.bundle_info,
                client=client,
                logger=logger,
            )
        stack.callback(supervised.selector.close)
        named = {name: ends.get_other(end) for end, name in supervised._open_sockets.items()}
        _run(named["requests"], named["logs"], supervised)
        named["stdout"].sendall(b"a line of output\n")
        ends.close()
        _find_process(supervised).has_ended = True
        if supervised.wait() != 0 or str(supervised.final_state) != "success":
            raise RehearsalError(f"a task ended as {supervised.final_state}")


@functools.cache
def _get_decoder() -> Any:
    from air_executor.airflow import compat

    return compat.make_workload_decoder()


def _make_workload(task_id: str, file: Path) -> Any:
    text = json.dumps(
        {
            "type": "ExecuteTask",
            "token": "",
            "dag_rel_path": file.name,
            "bundle_info": {"name": _BUNDLE, "version": None},
            # Absolute: it is not below the site's folder of logs then.
            "log_path": str(file.parent / "logs" / f"{task_id}.log"),
            "ti": {
                "id": str(uuid.uuid4()),
                "dag_version_id": str(uuid.uuid4()),
                "task_id": task_id,
                "dag_id": rehearsal.DAG_ID,
                "run_id": "rehearsal",
                "try_number": 1,
                "map_index": -1,
                "pool_slots": 1,
                "queue": "default",
                "priority_weight": 1,
                "parent_context_carrier": {},
                "context_carrier": {},
            },
        }
    )
    return _get_decoder().validate_json(text)


class _TaskEnds:
    """The ends of sockets that the task process would have: the supervisor closes its copies of them after the fork."""

    def __init__(self, stack: ExitStack) -> None:
        self._copy_by_end: dict[socket.socket, socket.socket] = {}
        self._stack = stack

    def make_pair(self) -> tuple[socket.socket, socket.socket]:
        """Stand in for `socketpair`: the supervisor's end is the second one."""
        ours, theirs = socket.socketpair()
        copy = ours.dup()
        # Whatever waits for the other end in this single thread would wait forever.
        copy.setblocking(False)
        self._copy_by_end[theirs] = copy
        for end in (ours, theirs, copy):
            self._stack.callback(end.close)
        return ours, theirs

    def get_other(self, end: socket.socket) -> socket.socket:
        return self._copy_by_end[end]

    def close(self) -> None:
        """Be the task that has ended: whatever is open of it, the supervisor reads to its end."""
        for end in self._copy_by_end.values():
            end.shutdown(socket.SHUT_RDWR)


def _run(requests: socket.socket, logs: socket.socket, supervised: Any) -> None:
    """Do what the task process does: see `main` in Airflow's task runner."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    config = structlog.get_config()
    make_logger = config["logger_factory"]
    with logs.makefile("wb", buffering=0) as channel, ExitStack() as stack:
        structlog.configure(logger_factory=type(make_logger)(make_logger.cls, channel))
        stack.callback(structlog.configure, **config)
        log = structlog.get_logger(logger_name="task")
        wire: Any = _Wire(requests, supervised)
        comms: Any = CommsDecoder(log=log, socket=wire)
        stack.enter_context(replaced(task_runner, SUPERVISOR_COMMS=comms))
        log.info("::group::Pre Execute")
        details = comms._get_response()
        # Not `startup`: it may become another user.
        structlog.contextvars.bind_contextvars(ti_id=str(details.ti.id), dag_id=details.ti.dag_id)
        try:
            ti = task_runner.parse(details, log)
        except (Exception, SystemExit) as reason:
            raise RehearsalError("the DAG file was not read; a policy of this site may refuse it") from reason
        context = ti.get_template_context()
        state, _, error = task_runner.run(ti, context, log)
        context["exception"] = error
        task_runner.finalize(ti, state, context, log, error)
        structlog.contextvars.clear_contextvars()


class _Wire:
    """The task's end of its connection; while the task waits for an answer, the supervisor works."""

    def __init__(self, end: socket.socket, supervised: Any) -> None:
        self._end = end
        self._supervised = supervised
        self.sendall = end.sendall
        self.fileno = end.fileno
        self.close = end.close

    def setblocking(self, _: bool) -> None:
        """Stay as it is, see `_TaskEnds`."""

    def recv(self, size: int) -> bytes:
        self._wait()
        return self._end.recv(size)

    def recv_into(self, buffer: Any, *arguments: Any) -> int:
        self._wait()
        return self._end.recv_into(buffer, *arguments)

    def _wait(self) -> None:
        for _ in range(_PATIENCE):
            if select.select([self._end], [], [], 0)[0]:
                return
            self._supervised._service_subprocess(max_wait_time=0)
        raise RehearsalError("the supervisor does not answer")


def _find_process(supervised: Any) -> _Nobody:
    process = supervised._process
    found: _Nobody = getattr(process, "_impl", process)
    return found
