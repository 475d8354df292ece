"""Runs inside a job: the function of a `@task.air_executor(discovers=True)`, from the files that its operator attached.

`python -m air_executor.airflow.discovery_task STEM FUNCTION`. Imports no Airflow.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from air_executor.inside import set_result


def main(arguments: list[str]) -> int:
    """Call the function, keep what it returns as the task's result, and return the exit status."""
    stem, function = arguments
    directory = Path(os.environ["AIR_EXECUTOR_BASE_PATH"]) / "jobs" / os.environ["AIR_EXECUTOR_JOB"]
    path = directory / f"{stem}.py"
    given = json.loads((directory / f"{stem}.json").read_bytes())
    # The name, so that a traceback shows its lines.
    names: dict[str, object] = {"__name__": "air_executor_discovery", "__file__": str(path)}
    exec(compile(path.read_bytes(), str(path), "exec"), names)
    discover = names[function]
    assert callable(discover)
    value = discover(*given["args"], **given["kwargs"])
    if value is not None:
        set_result(value)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
