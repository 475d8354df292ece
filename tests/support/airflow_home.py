"""A home for Airflow where tests import it in their own process."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile


def make_home() -> str:
    """Make a directory that is there for as long as this process lives."""
    directory, owner = tempfile.mkdtemp(prefix="air-executor-test-"), os.getpid()

    def remove() -> None:
        # A fork is not to take it away from the others.
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory
