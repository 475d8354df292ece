"""Gives tasks of some queues another Python: `queue_environments` names its interpreter, each has a warm parent of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from air_executor.airflow.environment_snapshot import EnvironmentSnapshot
from air_executor.airflow.options import SECTION
from air_executor.errors import ConfigurationError

_OF_ONE_PYTHON = frozenset(
    {"PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT"}
)
SaveEnvironment = Callable[[EnvironmentSnapshot], str]
"""Keep an environment and return its digest."""


class QueueEnvironments:
    """Knows by queue which environment tasks run in; saves each when it is first needed."""

    def __init__(self, pythons: Mapping[str, str], own: EnvironmentSnapshot, save: SaveEnvironment) -> None:
        """Save the scheduler's own environment.

        :param pythons: absolute path of an interpreter, by queue.
        :raises OSError: the environment could not be saved.
        """
        self._pythons = pythons
        self._own = own
        self._save = save
        self._digests: dict[str, str] = {}
        self.default = save(own)

    def find(self, queue: str | None) -> str:
        """Return the digest of a queue's environment.

        :raises ConfigurationError: its interpreter cannot be used.
        :raises OSError: it could not be saved.
        """
        python = self._pythons.get(queue or "")
        if python is None:
            return self.default
        if python not in self._digests:
            if not (os.path.isfile(python) and os.access(python, os.X_OK)):
                raise ConfigurationError(
                    f"[{SECTION}] queue_environments: queue {queue!r} names {python}, which is no program that this user may "
                    "run; correct it, or make that environment"
                )
            self._digests[python] = self._save(use_python(self._own, python))
        return self._digests[python]


def use_python(snapshot: EnvironmentSnapshot, python: str) -> EnvironmentSnapshot:
    """Return the same environment with another interpreter, whose directory comes first in PATH."""
    variables = {name: text for name, text in snapshot.variables.items() if name not in _OF_ONE_PYTHON}
    programs = os.path.dirname(python)
    variables["PATH"] = os.pathsep.join((programs, variables.get("PATH", os.defpath)))
    home = os.path.dirname(programs)
    if os.path.exists(os.path.join(home, "pyvenv.cfg")):
        variables["VIRTUAL_ENV"] = home
    return replace(snapshot, python=python, variables=variables)
