"""A real manager in a process of its own, and everything that runs under its root."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from air_executor.client import AirExecutorClient
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec
from air_executor.store.locks import manager_is_running
from air_executor.store.root import Root
from tests.support.waiting import wait_until

QUICK = {"rescan": 0.2, "view-interval": 0.02, "kill-grace": 0.3}
"""Options of a manager that tests need not wait for."""

REPOSITORY = Path(__file__).resolve().parents[2]


class ManagedRoot:
    """A root, the manager that runs on it now, and its jobs. End it with `clean_up`."""

    def __init__(self, path: Path) -> None:
        """Make the root; start nothing."""
        self.root = Root.open(path)
        self.client = AirExecutorClient(path)
        self.ledger = path.parent / "ledger"
        self.output = path.parent / "manager.out"
        self.process: subprocess.Popen[bytes] | None = None

    # The manager

    def start(self, *, wrapper: Iterable[str] = (), env: dict[str, str] | None = None, **options: Any) -> int:
        """Start a manager, wait until it holds the root, and return its pid.

        :param wrapper: what runs it, instead of `-m air_executor.cli.main`.
        :param options: of `air-executor manager run`, with `_` for `-`.
        """
        process = self.spawn(wrapper=wrapper, env=env, **options)

        def is_there() -> bool:
            assert process.poll() is None, self.output.read_text()
            return manager_is_running(self.root)

        wait_until(is_there, what="a manager that holds the root")
        return process.pid

    def spawn(
        self, *, wrapper: Iterable[str] = (), env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a manager and wait for nothing."""
        settings = {**QUICK, **{name.replace("_", "-"): value for name, value in options.items()}}
        arguments = [f"--{name}={value}" for name, value in settings.items() if value is not None]
        program = [*wrapper] or ["-m", "air_executor.cli.main"]
        command = [sys.executable, *program, "manager", "run", f"--base-path={self.root.path}", "--verbose", *arguments]
        variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error", **(env or {})}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env=variables, cwd=self.root.path.parent
            )
        return self.process

    def kill(self) -> None:
        """End the manager by SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Tell the manager to stop, and wait until it has."""
        self._end(number)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            process.wait(60)

    def log(self) -> str:
        """Return the log of all managers of this root so far."""
        return self.root.manager_log.read_text() if self.root.manager_log.exists() else ""

    # Processes

    def fork_servers(self) -> list[psutil.Process]:
        """Return the fork servers of this root that live, whoever started them."""
        spools = f"{self.root.run}/"
        return [each for each in _processes() if any(word.startswith(spools) for word in _words(each))]

    def task_processes(self) -> list[psutil.Process]:
        """Return what runs of tasks of this root: all that inherited its environment."""
        mark = str(self.root.path)
        return [each for each in _processes() if _variables(each).get("AIR_EXECUTOR_BASE_PATH") == mark]

    def clean_up(self) -> None:
        """Leave no process behind."""
        self.stop()
        for find in (self.fork_servers, self.task_processes):
            for each in find():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        wait_until(
            lambda: [*self.fork_servers(), *self.task_processes()], lambda left: not left, what="no process left"
        )

    # Jobs

    def submit(self, name: str, *tasks: TaskSpec, **options: Any) -> str:
        """Submit a job."""
        return self.client.submit(JobSpec(name=name, tasks=tasks, options=JobOptions(**options)))

    def state(self, name: str) -> dict[str, Any]:
        """Return what state.json says, wherever the job lies."""
        return self._read(name, "state.json")

    def tasks(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what tasks.json says, by id."""
        return {task["id"]: task for task in self._read(name, "tasks.json")}

    def task(self, name: str) -> dict[str, Any]:
        """Return what tasks.json says of the only task of a job."""
        [task] = self.tasks(name).values()
        return task

    def _read(self, name: str, file: str) -> Any:
        return json.loads((self.client.job_path(name) / file).read_text())

    def wait_for(self, name: str, state: str = "", timeout_s: float = 60) -> dict[str, Any]:
        """Wait until a job is over, or is in `state`, and return its state.json."""
        over = ("completed", "failed", "cancelled")
        return wait_until(
            lambda: self.state(name),
            lambda seen: seen["state"] == state if state else seen["state"] in over,
            timeout_s=timeout_s,
            what=f"the end of job {name}; the log ends: {self.log()[-1500:]}",
        )

    def wait_for_task(
        self, name: str, task_id: str, accept: Callable[[dict[str, Any]], object], what: str
    ) -> dict[str, Any]:
        """Wait until tasks.json says something of a task that `accept` likes."""
        return wait_until(lambda: self.tasks(name).get(task_id, {}), accept, what=what)

    # The ledger

    def lines(self) -> list[list[str]]:
        """Return what tasks wrote into the ledger."""
        return [line.split() for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []

    def wait_for_line(self, *words: str) -> list[str]:
        """Wait until the ledger has a line that begins with these words, and return it."""
        found = wait_until(
            lambda: [line for line in self.lines() if line[: len(words)] == list(words)],
            what=f"a line {words} in the ledger",
        )
        return found[0]

    def ledger_task(self, task_id: str, *dependencies: str, script: str = "", **fields: Any) -> TaskSpec:
        """Return a task that writes its start and its end into the ledger, with a script in between.

        A shell's `>>` appends each line by one write with O_APPEND: lines of tasks at once never mix.
        """
        words = f'"$AIR_EXECUTOR_JOB $AIR_EXECUTOR_TASK $AIR_EXECUTOR_ATTEMPT $$" >> {self.ledger}'
        text = f"echo start {words}; {script or ':'}; code=$?; echo end {words}; exit $code"
        return TaskSpec(**fields, id=task_id, command="sh", args=("-c", text), dependencies=dependencies)


def shell(task_id: str, script: str, *dependencies: str, **fields: Any) -> TaskSpec:
    """Return a task that runs a shell script."""
    return TaskSpec(**fields, id=task_id, command="sh", args=("-c", script), dependencies=dependencies)


def is_alive(pid: int) -> bool:
    """Claim that a process of this pid runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes() -> list[psutil.Process]:
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _variables(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def remove_tree(path: Path) -> None:
    """Do as `rm -rf`, and again where somebody wrote into it meanwhile."""
    wait_until(lambda: subprocess.run(["rm", "-rf", path], capture_output=True).returncode == 0, what=f"no {path}")
