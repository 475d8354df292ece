"""Tasks of the DAG use_case_tests: find files of unit tests, run them, and queue what may run after them.

suites.py discover PROJECT
suites.py run PROJECT FILE
"""

from __future__ import annotations

import os
import sys
import unittest
from pathlib import Path

from air_executor import queue_tasks, set_result


def discover(project: Path) -> None:
    """Queue a task for each file of unit tests."""
    files = sorted(project.glob("tests/unit/test_*.py"))
    queue_tasks(_make_task(project, path) for path in files)
    print(f"found {len(files)} files of unit tests")


def run(project: Path, file: Path) -> int:
    """Run the tests of a file and leave the outcome; return the exit status."""
    os.chdir(project)
    sys.path.insert(0, str(project))
    suite = unittest.defaultTestLoader.loadTestsFromName(".".join(file.relative_to(project).with_suffix("").parts))
    outcome = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = [test.id() for test, _ in (*outcome.failures, *outcome.errors)]
    failed += [test.id() for test in outcome.unexpectedSuccesses]
    set_result({"run": outcome.testsRun, "failed": failed})
    if failed:
        # The file's name leads people to the part; these words become the task's error.
        Path(os.environ["AIR_EXECUTOR_ERROR_FILE"]).write_text(f"failed: {', '.join(failed)}")
        return 1
    after = project / "tests" / "integration" / file.name
    if file.parent.name == "unit" and after.exists():
        # Worth its time only now that the part works by itself.
        queue_tasks([_make_task(project, after)])
    return 0


def _make_task(project: Path, file: Path) -> dict:
    return {
        "id": str(file.relative_to(project)),
        "command": sys.executable,
        "args": [__file__, "run", str(project), str(file)],
        "timeout_s": 300,
    }


if __name__ == "__main__":
    if sys.argv[1] == "discover":
        discover(Path(sys.argv[2]))
    else:
        sys.exit(run(Path(sys.argv[2]), Path(sys.argv[3])))
