"""Learned preload in one warm parent: what its manager asked for, what it loads, what it leaves for manager and tasks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from air_executor.airflow import provenance
from air_executor.airflow.installed import InstalledPackages
from air_executor.airflow.learned_modules import LearnedModules, LearnedPolicy
from air_executor.airflow.sightings import ImportRecorder
from air_executor.process.subreaper import become_subreaper
from air_executor.store.learned import LearnedFiles
from air_executor.store.stamps import write_stamps

if TYPE_CHECKING:
    from air_executor.airflow.options import Options, ReadOption

_MODES = ("verified", "trial", "plain")


@dataclass(frozen=True)
class GenerationRequest:
    """What the manager says about this generation on the command line."""

    files: LearnedFiles
    name: str
    mode: str

    @classmethod
    def take(cls, arguments: Sequence[str]) -> tuple[GenerationRequest | None, list[str]]:
        """Take `--learned DIR --generation NAME --mode verified|trial|plain` out of a command line; None without them.

        :raises SystemExit: with the usage.
        """
        own = {"--learned": "", "--generation": "", "--mode": ""}
        others: list[str] = []
        for word, value in zip(arguments[::2], arguments[1::2], strict=False):
            if word in own:
                own[word] = value
            else:
                others += [word, value]
        directory, name, mode = own.values()
        if not (directory or name or mode):
            return None, list(arguments)
        if not (directory and name) or mode not in _MODES or len(arguments) % 2:
            raise SystemExit(f"usage: --learned DIRECTORY --generation NAME --mode {'|'.join(_MODES)}")
        return cls(LearnedFiles(Path(directory)), name, mode), others


class LearnedPreload:
    """One generation, from before Airflow is imported until it serves."""

    def __init__(self, request: GenerationRequest) -> None:
        """Wait until nothing is being installed; remember what loading begins with."""
        self._request = request
        provenance.wait_until_settled(InstalledPackages().directories)
        self._began_ns = time.time_ns()
        self._config_files = provenance.find_config_files(os.environ)
        self._config = [provenance.read_digest(path) for path in self._config_files]
        self._plugins: str | None = None
        self._packages = InstalledPackages()
        self._policy: LearnedPolicy | None = None
        self._modules: LearnedModules | None = None

    def load(self, options: Options, read: ReadOption) -> None:
        """Load what tasks of this environment import. Call when Airflow is loaded, in the main thread.

        :raises OSError: the record of this generation could not be written.
        :raises SystemExit: what was loaded cannot be served: the manager starts another generation.
        """
        self._plugins = read("core", "plugins_folder")
        self._packages = InstalledPackages(provenance.list_volatile(read))
        if options.preload and options.preload_learned:
            self._policy = LearnedPolicy(
                options.preload_allow, options.preload_deny, options.preload_memory_limit_bytes
            )
        # Names that Airflow itself has taken cannot be taken by anybody else.
        shadows = frozenset(name for name in provenance.list_dag_modules(read) if name not in sys.modules)
        self._modules = LearnedModules(
            self._request.files,
            self._request.name,
            self._policy or LearnedPolicy(),
            self._packages,
            self._packages.fingerprint(self._config),
            shadows,
        )
        if self._policy is None or self._request.mode == "plain":
            return
        # Daemons that a module starts fall to this process, and are seen.
        become_subreaper()
        if self._request.mode == "trial":
            self._modules.try_candidates()
        else:
            self._modules.load_verified()

    def finish(self) -> None:
        """Have tasks report, and write down what this process was made from. Call last.

        :raises OSError: something could not be written.
        """
        if self._modules is None:
            return
        is_learning = False
        if self._policy is not None:
            has_lists = self._policy.allow or self._policy.deny
            recorder = ImportRecorder(
                self._request.files,
                self._packages,
                self._modules.known_names(),
                self._policy.permits if has_lists else None,
            )
            is_learning = recorder.install()
        stamps = provenance.take_stamps(self._packages, self._config_files, self._plugins, self._began_ns)
        write_stamps(self._request.files.stamps(self._request.name), stamps)
        self._modules.pass_on(is_learning=is_learning)
