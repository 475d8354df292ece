"""The command line as real processes, in a pipe and in a terminal, on a root of its own; no process left when it is over."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from air_executor.client import AirExecutorClient
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[3]
QUICK = {"view_interval_s": 0.02, "rescan_s": 0.2, "kill_grace_s": 0.5, "fork_server_idle_s": 5}


class Terminal:
    """A command that runs in a terminal of its own."""

    def __init__(self, arguments: list[str], variables: dict[str, str], cwd: Path) -> None:
        self._descriptor, other = pty.openpty()
        os.set_blocking(self._descriptor, False)
        self.process = subprocess.Popen(
            arguments, stdin=other, stdout=other, stderr=other, env=variables, cwd=cwd, start_new_session=True
        )
        os.close(other)
        self._seen = b""

    def seen(self) -> str:
        """Return what the command has written so far."""
        # At its end a terminal answers with an error, not with nothing.
        with contextlib.suppress(OSError):
            while chunk := os.read(self._descriptor, 1 << 16):
                self._seen += chunk
        return self._seen.decode("utf-8", "replace").replace("\r\n", "\n")

    def plain(self) -> str:
        """Return the same without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen())

    def wait_for(self, pattern: str) -> str:
        """Wait until the command has written something, and return all of it."""
        return wait_until(self.plain, lambda text: re.search(pattern, text), what=f"{pattern!r} in the terminal")

    def press_ctrl_c(self) -> None:
        """Do to the command what a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Return the exit code."""

        def has_ended() -> int | None:
            # Read meanwhile: a full terminal would hold the command.
            self.seen()
            return self.process.poll()

        return wait_until(has_ended, lambda code: code is not None, what=f"the end; seen: {self.plain()[-2000:]}") or 0

    def close(self) -> None:
        """End what is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self._descriptor)


class Shell:
    """Calls `air-executor` as a person or a script would."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIR_EXECUTOR", "AIRFLOW"))},
            "AIR_EXECUTOR_BASE_PATH": str(self.root),
            "COLUMNS": "120",
            "HOME": str(directory),
            "LINES": "40",
            "PYTHONPATH": str(REPOSITORY),
            # The manager that a command starts outlives it: that is its purpose.
            "PYTHONWARNINGS": "error,ignore:subprocess:ResourceWarning",
            "TERM": "xterm",
            "TZ": "UTC",
        }
        self.variables.pop("NO_COLOR", None)
        self._terminals: list[Terminal] = []

    @property
    def client(self) -> AirExecutorClient:
        return AirExecutorClient(self.root)

    def use_quick_manager(self, **settings: Any) -> None:
        """Let the manager that is started be one that tests need not wait for."""
        _ = self.client
        (self.root / "settings.json").write_text(json.dumps({**QUICK, **settings}))

    def __call__(self, *words: str, given: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a pipe.

        :param given: what stands on its standard input.
        """
        return subprocess.run(
            self.arguments(*words),
            input=given or "",
            capture_output=True,
            text=True,
            env={**self.variables, **variables},
            cwd=self.directory,
            timeout=120,
            check=False,
        )

    def ok(self, *words: str, given: str | None = None, **variables: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        result = self(*words, given=given, **variables)
        assert result.returncode == 0, (result.args, result.stdout, result.stderr)
        return result.stdout

    def json(self, *words: str, **keywords: Any) -> Any:
        """Run a command that must succeed, and return the JSON that it prints."""
        command, *rest = words
        return json.loads(self.ok(command, "--json", *rest, **keywords))

    def json_of(self, group: str, command: str) -> Any:
        """Do the same for a command of a group."""
        return json.loads(self.ok(group, command, "--json"))

    def in_terminal(self, *words: str) -> Terminal:
        """Start a command in a terminal."""
        terminal = Terminal(self.arguments(*words), self.variables, self.directory)
        self._terminals.append(terminal)
        return terminal

    def arguments(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "air_executor.cli.main", *words]

    def script(self) -> str:
        """Return a shell command that calls `air-executor` inside a task."""
        return f"{sys.executable} -m air_executor.cli.main"

    def clean_up(self) -> None:
        """Leave no process behind; all of them carry the root in their environment."""
        for terminal in self._terminals:
            terminal.close()
        if self.root.exists():
            self("manager", "stop")
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(self._processes, lambda left: not left, what="no process left")

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                is_ours = process.environ().get("AIR_EXECUTOR_BASE_PATH") == str(self.root)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@pytest.fixture(scope="package", autouse=True)
def interruptible() -> Iterator[None]:
    """Have commands obey Ctrl-C although a shell has the tests, which run in its background, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.use_quick_manager()
    yield shell
    shell.clean_up()
