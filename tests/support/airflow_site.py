"""A real Airflow in a directory of its own: API server, scheduler, DAG processor and triggerer as processes.

Nothing of the person's own settings reaches it (clean HOME, clean environment), and nothing of it is left when it stops.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import psutil

from tests.support.airflow_api import AirflowApi
from tests.support.ports import free_port
from tests.support.waiting import wait_until

Config = Mapping[str, Mapping[str, str]]

AIR_EXECUTOR = "air_executor.AirExecutorExecutor"
LOCAL_EXECUTOR = "LocalExecutor"

_COMPONENTS = {
    "api-server": ("--host", "127.0.0.1", "--workers", "1"),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}


class AirflowSite:
    """One Airflow; a context manager that starts all of it and stops all of it, also after a failure."""

    def __init__(
        self,
        directory: Path,
        *,
        executor: str,
        dags_folder: Path,
        database_url: str | None = None,
        database_template: Path | None = None,
        config: Config | None = None,
        environment: Mapping[str, str] | None = None,
        components: Iterable[str] = tuple(_COMPONENTS),
        base_path: Path | None = None,
        python: Path | None = None,
        is_migrated: bool = False,
    ) -> None:
        """Prepare a site in `directory`, which is made where it is absent.

        :param database_url: metadata database; an SQLite file in `directory` by default.
        :param database_template: an SQLite file that is migrated already, to be copied; made where it is absent.
        :param config: options of airflow.cfg on top of those that every site has.
        :param environment: variables of all its processes on top of the few that every site has.
        :param python: interpreter of the virtual environment that it runs in; this one by default.
        :param is_migrated: the database has its tables.
        """
        self.directory = directory.resolve()
        self.executor = executor
        self.dags_folder = dags_folder.resolve()
        self.home = self.directory / "airflow"
        self.base_path = base_path or self.directory / ".air-executor"
        self.logs = self.directory / "logs"
        self.temporary = self.directory / "tmp"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.username = "admin"
        self.password = secrets.token_urlsafe(9)
        self.jwt_secret = secrets.token_urlsafe(32)
        self.api = AirflowApi(self.url, self.username, self.password, self.check_all_alive)
        self._database_url = database_url or f"sqlite:///{self.home / 'airflow.db'}"
        self._database_template = database_template
        self._config = config or {}
        self._environment = dict(environment or {})
        self._components = tuple(components)
        self._programs = (python or Path(sys.executable)).parent
        self._is_migrated = is_migrated
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # --- whole site

    def __enter__(self) -> AirflowSite:
        try:
            self.prepare()
            for name in self._components:
                self.start(name)
            self.wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def prepare(self) -> None:
        """Write airflow.cfg and make the database."""
        for directory in (self.home, self.logs, self.directory / "home", self.temporary):
            directory.mkdir(parents=True, exist_ok=True)
        self._write_config()
        passwords = self.home / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({self.username: self.password}))
        if self._is_migrated:
            return
        template = self._database_template if self._database_url.startswith("sqlite") else None
        if template is not None and template.exists():
            shutil.copy(template, self.home / "airflow.db")
            return
        self.airflow("db", "migrate")
        if template is not None:
            shutil.copy(self.home / "airflow.db", template)

    def wait_until_healthy(self, timeout_s: float = 120) -> None:
        """Wait until every component that was started reports that it is healthy.

        :raises RuntimeError: a component has exited; its last lines are in the message.
        """
        wanted = {"metadatabase"} | {name.replace("-", "_") for name in self._processes if name != "api-server"}

        def health() -> dict[str, str]:
            self.check_all_alive()
            return self.api.health()

        wait_until(
            health,
            lambda seen: all(seen.get(name) == "healthy" for name in wanted),
            timeout_s=timeout_s,
            interval_s=0.2,
            what=f"{sorted(wanted)} to be healthy",
        )
        # The API for tasks is built at its first request, which takes seconds; better now than in the first task.
        self.api.warm_up()

    def stop(self) -> None:
        """Stop every process of this site and wait until all are gone."""
        self.api.close()
        # The scheduler first: it starts no more tasks while the API server still takes what running ones report.
        for name in sorted(self._processes, key=lambda name: name != "scheduler"):
            self.end(name, signal.SIGTERM, grace_s=15)
        self._stop_manager()
        self._kill_all_but(set())

    def processes(self) -> Iterator[psutil.Process]:
        """Return every living process whose environment names this site's AIRFLOW_HOME, but not this one."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if (
                    process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE
                    and process.environ().get("AIRFLOW_HOME") == str(self.home)
                ):
                    yield process

    # --- single components

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one component; what it prints goes to `logs/<name>.log`.

        :param words: what to run of `airflow`, for a component that not every site has.
        """
        arguments = list(words or (name, *_COMPONENTS[name]))
        environment = self.environment()
        if name == "api-server":
            arguments += ["--port", str(self.port)]
            # It gives up soon when others write to SQLite, and whoever asked it asks again.
            environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = self._database_url
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(self._programs / "airflow"), *arguments],
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[name] = process
        return process

    def pid(self, name: str) -> int:
        """Return the process id of a component."""
        return self._processes[name].pid

    def check_alive(self, name: str) -> None:
        """Raise RuntimeError, with its last lines, if a component has exited."""
        status = self._processes[name].poll()
        if status is not None:
            raise RuntimeError(f"airflow {name} exited with {status}:\n{self.log_tail(name)}")

    def end(self, name: str, sign: signal.Signals, grace_s: float = 60) -> None:
        """Send a signal to one component, alone, and wait until it is gone; after `grace_s` it is killed."""
        process = self._processes.pop(name)
        children = _children(process.pid)
        if process.poll() is None:
            process.send_signal(sign)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            for child in [*children, *_children(process.pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            process.wait(10)

    def check_all_alive(self) -> None:
        """Raise RuntimeError if a component that was started, and not ended, has exited."""
        for name in self._processes:
            self.check_alive(name)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines that a component printed."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def log_text(self, name: str) -> str:
        """Return all that a component printed."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def use_executor(self, executor: str) -> None:
        """Set `[core] executor` for the components that are started from now on."""
        self.executor = executor
        self._write_config()

    def end_executor(self) -> None:
        """End the scheduler, the manager, and whatever they leave running; the other components run on."""
        if "scheduler" in self._processes:
            self.end("scheduler", signal.SIGTERM, grace_s=15)
        self._stop_manager()
        others = {process.pid for process in self._processes.values()}
        others |= {child.pid for pid in others for child in _children(pid)}
        self._kill_all_but(others)

    # --- commands

    def environment(self) -> dict[str, str]:
        """Return the whole environment of this site's processes."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
        return {
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            **kept,
            "PATH": f"{self._programs}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.directory / "home"),
            # What a task that is killed leaves there goes with the site.
            "TMPDIR": str(self.temporary),
            "AIRFLOW_HOME": str(self.home),
            **self._environment,
        }

    def airflow(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an `airflow` command of this site to its end (it takes seconds to start; prefer the API)."""
        return self.command(str(self._programs / "airflow"), *arguments, check=check)

    def air_executor(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an `air-executor` command on this site's root."""
        return self.command(
            str(self._programs / "air-executor"), "--base-path", str(self.base_path), *arguments, check=check
        )

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the environment of this site.

        :raises RuntimeError: it exited with another status than 0, and `check` is set.
        """
        result = subprocess.run(
            words,
            env=self.environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and result.returncode != 0:
            raise RuntimeError(
                f"{' '.join(words)} exited with {result.returncode}:\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
            )
        return result

    # --- the manager of this site's root

    def manager_pid(self) -> int | None:
        """Return the process id of the living manager, if there is one."""
        try:
            pid = int((self.base_path / "manager.pid").read_text().split()[0])
            process = psutil.Process(pid)
            is_ours = process.environ().get("AIRFLOW_HOME") == str(self.home)
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return pid if is_ours and process.status() != psutil.STATUS_ZOMBIE else None

    def wait_for_manager(self, timeout_s: float = 60) -> int:
        """Wait until a manager runs and return its process id."""
        pid = wait_until(self.manager_pid, timeout_s=timeout_s, interval_s=0.1, what="a manager on this root")
        assert pid is not None
        return pid

    def end_manager(self, sign: signal.Signals) -> None:
        """Send the manager a signal and wait until it is gone."""
        pid = self.manager_pid()
        if pid is None:
            return
        process = psutil.Process(pid)
        process.send_signal(sign)
        wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, what="its end")

    def _kill_all_but(self, spared: set[int]) -> None:
        # Supervisors, runners and whatever else stayed: known by the AIRFLOW_HOME that only this site has.
        left = [process for process in self.processes() if process.pid not in spared]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def _stop_manager(self) -> None:
        pid = self.manager_pid()
        if pid is None:
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            process.terminate()
            process.wait(10)

    # --- configuration

    def _write_config(self) -> None:
        is_sqlite = self._database_url.startswith("sqlite")
        options: dict[str, dict[str, str]] = {
            "core": {
                "executor": self.executor,
                "dags_folder": str(self.dags_folder),
                "load_examples": "False",
                "execution_api_server_url": f"{self.url}/execution/",
                "fernet_key": "",
                "simple_auth_manager_users": f"{self.username}:admin",
                "simple_auth_manager_passwords_file": str(self.home / "passwords.json"),
            },
            # The scheduler exits when it does not get its turn to write to SQLite: on a busy machine five seconds are too few.
            "database": {"sql_alchemy_conn": self._database_url + ("?timeout=60" if is_sqlite else "")},
            "logging": {"base_log_folder": str(self.directory / "task-logs")},
            "api": {"base_url": self.url, "secret_key": self.jwt_secret[::-1]},
            "api_auth": {"jwt_secret": self.jwt_secret},
            # New and changed DAG files are to be seen at once, not after five minutes.
            "dag_processor": {"refresh_interval": "2", "min_file_process_interval": "5", "parsing_processes": "1"},
            "scheduler": {"scheduler_heartbeat_sec": "2"},
            "usage_data_collection": {"enabled": "False"},
            "air_executor": {"base_path": str(self.base_path)},
        }
        if is_sqlite:
            # Each process would otherwise hold on to idle connections of a pool, which SQLite has no use for.
            options["database"]["sql_alchemy_pool_enabled"] = "False"
        for section, values in self._config.items():
            options.setdefault(section, {}).update(values)
        parser = configparser.RawConfigParser()
        parser.read_dict(options)
        path = self.home / "airflow.cfg"
        path.touch(mode=0o600)
        with path.open("w") as file:
            parser.write(file)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
