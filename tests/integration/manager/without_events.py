"""A manager on a system that has no watch left: `python -m tests.integration.manager.without_events manager run ...`."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from watchdog.observers.api import BaseObserver

from air_executor.cli.main import main


def refuse(*_: object, **__: object) -> NoReturn:
    """Say what inotify says when its limit is reached."""
    raise OSError(errno.ENOSPC, "inotify watch limit reached")


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    BaseObserver.start = refuse
    main()
