"""Where tasks find `air-executor` itself, also where the virtual environment that it is installed in is not activated."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping

_COMMAND = "air-executor"
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where programs are looked for without PATH; naming one more directory must not take these away."""


def find_command_directory() -> str | None:
    """Return the directory that holds the command of this installation; None where it was installed without."""
    for directory in (os.path.dirname(sys.executable), sysconfig.get_path("scripts")):
        if os.access(os.path.join(directory, _COMMAND), os.X_OK):
            return directory
    return None


def with_command(variables: Mapping[str, str], directory: str | None) -> Mapping[str, str]:
    """Return variables whose PATH has the directory, at its end: what they name themselves comes first."""
    path = variables.get("PATH", _DEFAULT_PATH)
    if directory is None or directory in path.split(os.pathsep):
        return variables
    return {**variables, "PATH": f"{path}{os.pathsep}{directory}"}
