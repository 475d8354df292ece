"""Virtual environments of the benchmark, one per executor: nobody pays for the plugins and pins of another.

All are installed at the versions of constraints-bench.txt, and anew when that file or what they ask for has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import PROJECT

CONSTRAINTS = PROJECT / "constraints-bench.txt"
LOCKS = PROJECT / ".bench"

_ALL_HAVE = ("apache-airflow", "apache-airflow-providers-amazon", "asyncpg", "pandas", "psycopg2-binary")
_INSTALL_LIMIT_S = 1200
_SHOW_VERSIONS = """
import importlib.metadata, json, platform, sys
print(json.dumps({"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in sys.argv[1:]}}))
"""


class EnvironmentUnavailableError(Exception):
    """An environment cannot be installed; the message says why. Check the access to a package index."""


@dataclass(frozen=True)
class Environment:
    """What one executor is installed with."""

    name: str
    requirements: tuple[str, ...] = ()
    """Beside Airflow, its PostgreSQL drivers and what the DAG files import."""

    @property
    def directory(self) -> Path:
        """Return where it is."""
        return PROJECT / f".venv-bench-{self.name}"

    @property
    def python(self) -> Path:
        """Return its interpreter."""
        return self.directory / "bin" / "python"

    def program(self, name: str) -> Path:
        """Return a program that is installed in it."""
        return self.directory / "bin" / name

    def install(self) -> None:
        """Make it, unless it is there as it should be.

        :raises EnvironmentUnavailableError: it cannot be made.
        """
        LOCKS.mkdir(exist_ok=True)
        with (LOCKS / f"{self.directory.name}.lock").open("w") as lock:
            # Two parts of the benchmark that are run side by side want the same one.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._install_once()

    def _install_once(self) -> None:
        mark = self.directory / ".installed"
        wanted = self._fingerprint()
        if mark.exists() and mark.read_text() == wanted:
            return
        print(f"Installing {self.directory.name} ...", flush=True)
        mark.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", str(self.directory)])
        words = ["-c", str(CONSTRAINTS), *_ALL_HAVE, *self.requirements]
        uv = Path(sys.executable).parent / "uv"
        if uv.exists():
            _run([str(uv), "--quiet", "pip", "install", "--no-config", "--python", str(self.python), *words])
        else:
            _run([str(self.python), "-m", "pip", "install", "--quiet", "--no-input", *words])
        mark.write_text(wanted)

    def versions(self, *packages: str) -> dict[str, str]:
        """Return the versions of its Python and of installed packages."""
        found: dict[str, str] = json.loads(_run([str(self.python), "-c", _SHOW_VERSIONS, *packages]))
        return found

    def _fingerprint(self) -> str:
        text = CONSTRAINTS.read_bytes()
        if "-e" in self.requirements:  # this checkout
            text += (PROJECT / "pyproject.toml").read_bytes()
        return hashlib.sha256(text + repr((sys.version, self.requirements)).encode()).hexdigest()


def _run(command: list[str]) -> str:
    try:
        result = subprocess.run(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnavailableError(str(error)) from error
    if result.returncode != 0:
        raise EnvironmentUnavailableError(f"{' '.join(command[:6])} ...: {result.stderr.strip()[-600:]}")
    return result.stdout
