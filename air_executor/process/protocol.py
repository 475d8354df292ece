"""The messages between the manager and its fork servers, which are also the records of a spool."""

from __future__ import annotations

import msgspec

MARK_VARIABLE = "AIR_EXECUTOR_ATTEMPT_MARK"
"""Environment variable that every process of an attempt inherits; its value is the attempt id."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all messages: one JSON object a line, told apart by `type`."""


class Launch(Message, frozen=True, kw_only=True, tag="launch"):
    """Start one attempt: manager to fork server."""

    attempt_id: str
    """`<job name>/<job id>/<task id>/<attempt number>`, unique for ever."""
    log_path: str
    """Absolute. Created with O_EXCL; holding its lock is what it means for the attempt to live."""
    command: str
    args: tuple[str, ...] = ()
    cwd: str | None = None
    """Absolute; None means the fork server's own."""
    env: dict[str, str] = {}
    """Added to the fork server's own environment."""
    workload_path: str | None = None
    """Absolute path of an Airflow workload, for a warm parent; `command` is then only for people to read."""
    memory_limit_bytes: int | None = None
    """Enforced here where a cgroup with a memory controller is writable; else the manager samples."""
    keep_processes: bool = False
    """Leave what the task left running."""


class Ready(Message, frozen=True, kw_only=True, tag="ready"):
    """The server has loaded what it preloads and starts runners from now on."""

    pid: int
    seconds: float
    """What loading took."""


class Started(Message, frozen=True, kw_only=True, tag="started"):
    """An attempt's runner exists."""

    attempt_id: str
    pid: int
    start_ticks: int
    """`/proc/<pid>/stat` field 22: with the boot id, tells this process from a later one of the same pid."""
    boot_id: str
    at: float
    """Unix time in seconds."""
    log_path: str
    waited_s: float = 0.0
    """For how long the runner had waited for its launch: by so much it is older than the attempt."""
    cgroup: str | None = None
    """Absolute path of the attempt's cgroup v2 directory, where there is one."""


class Ended(Message, frozen=True, kw_only=True, tag="ended"):
    """An attempt's runner has exited and its process tree is gone."""

    attempt_id: str
    at: float
    exit_code: int | None = None
    signal: int | None = None
    """The signal that ended the runner; exactly one of `exit_code` and `signal` is set."""
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    killed: tuple[str, ...] = ()
    """What was still running when the runner had exited and was ended: `name (pid)` each."""
    out_of_memory: bool = False
    """The kernel ended a process of this attempt because its memory limit was reached."""


class NotStarted(Message, frozen=True, kw_only=True, tag="not_started"):
    """No runner could be started; nothing of the task has run."""

    attempt_id: str
    at: float
    error: str
    """A sentence for people, with path and cause."""
    already_claimed: bool = False
    """Somebody else created the attempt's log first: this attempt is theirs."""


Report = Ready | Started | Ended | NotStarted
