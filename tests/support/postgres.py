"""A PostgreSQL server of our own, in a temporary directory, on a free port of the loopback interface."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from tests.support.ports import free_port
from tests.support.waiting import wait_until


def find_server_programs() -> Path | None:
    """Return the directory that holds `initdb` and `postgres`, the newest where there are several."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


class PostgresServer:
    """Started on entry, stopped and removed on exit; trusts everybody on the loopback interface."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        """Prepare a server; `settings` are those of postgresql.conf."""
        programs = find_server_programs()
        if programs is None:
            raise FileNotFoundError("PostgreSQL's server programs (initdb) are not installed")
        self._programs = programs
        self._settings = settings or {}
        self._directory = Path(tempfile.mkdtemp(prefix="air-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database that `create` made."""
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Create an empty database and return its URL."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "airflow", database)
        return self.url(database)

    @property
    def log(self) -> str:
        """Return what the server has written."""
        return (self._directory / "log").read_text(errors="replace")

    def __enter__(self) -> PostgresServer:
        # PostgreSQL refuses to run as root.
        if os.geteuid() == 0:
            user = _other_user()
            os.chown(self._directory, user.pw_uid, user.pw_gid)
        data = self._directory / "data"
        self._run("initdb", "-D", str(data), "-U", "airflow", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **self._settings,
        }
        arguments = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._as_other_user([str(self._programs / "postgres"), "-D", str(data), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, timeout_s=60, interval_s=0.1, what="PostgreSQL to accept connections")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast" shutdown: disconnects whoever is connected
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(20)
            self._process = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL exited with {self._process.returncode}:\n{self.log}")
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            self._as_other_user([str(self._programs / program), *arguments]),
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"{program} exited with {result.returncode}:\n{result.stdout}{result.stderr}")

    def _as_other_user(self, command: list[str]) -> list[str]:
        if os.geteuid() != 0:
            return command
        user = _other_user()
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]


def _other_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
