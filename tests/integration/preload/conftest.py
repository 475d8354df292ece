"""Packages with modules that behave as they should not, and a warm parent without Airflow to try them in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from air_executor.core import preload
from air_executor.core.preload import Denial, Learned, Sighting
from air_executor.store.learned import LearnedFiles
from tests.support.packages import install

REPOSITORY = Path(__file__).resolve().parents[3]
NOW = datetime.now(timezone.utc)


class Outcome(NamedTuple):
    """What one generation has done."""

    exit_code: int
    error: str
    facts: dict[str, Any] | None
    """What it said of itself when it was ready."""
    learned: Learned

    @property
    def causes(self) -> dict[str, str]:
        return {name: denial.cause for name, denial in self.learned.denied.items()}

    def denial(self, module: str) -> Denial:
        return self.learned.denied[module]


class Site:
    """A package directory, and what was learned about it."""

    def __init__(self, directory: Path) -> None:
        self.packages = directory / "site-packages"
        self.files = LearnedFiles(directory / "preload" / "environment")
        self.files.create()
        self._generations = 0

    def install(self, modules: Mapping[str, str], version: str = "1") -> None:
        install(self.packages, version, dict(modules))

    def see(self, *modules: str) -> None:
        """Have tasks seen importing these modules."""
        seen = {name: Sighting(preload.ENOUGH_ATTEMPTS, NOW, NOW) for name in modules}
        self.files.write(Learned(sys.executable, fingerprint="same", seen=seen))

    def start(self, mode: str = "trial", path: tuple[Path, ...] = (), **options: object) -> Outcome:
        """Start a generation, wait for its end, and learn from it as the manager does."""
        self._generations += 1
        name = f"generation-{self._generations}"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, (*path, self.packages, REPOSITORY))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = [f"{key}={value}" for key, value in options.items()]
        module = "tests.integration.preload.trying"
        result = subprocess.run(
            [sys.executable, "-m", module, str(self.files.directory), name, mode, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        learned = self.files.read()
        assert learned is not None
        ended = None if result.returncode == 0 else f"exit code {result.returncode}"
        lines = self.files.read_record(name)
        preload.take_record(learned, lines, NOW, ended=ended, was_trial=mode == "trial")
        self.files.write(learned)
        facts = json.loads(result.stdout) if result.returncode == 0 else None
        return Outcome(result.returncode, result.stderr, facts, learned)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


StartTrial = Callable[[Mapping[str, str]], Outcome]


@pytest.fixture
def try_modules(site: Site) -> StartTrial:
    """Install modules that tasks import, and try them, in the order given."""

    def start(modules: Mapping[str, str], **options: object) -> Outcome:
        site.install(modules)
        site.see(*modules)
        return site.start(**options)

    return start
