"""A manager that cannot remove certain files: `python -m tests.integration.manager.without_removal manager run ...`.

As after `chattr +i`, which not every file system and user can do.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from air_executor.cli.main import main

KEPT = ("0-kept.json", "1-kept.json", "1.refused", "old.tasks.0123456789ab", "old.0123456789ab", "command-000000000000")

unlink = os.unlink


def refuse(path: Any, *args: Any, **kwargs: Any) -> None:
    """Remove a file, unless it is one that stays."""
    if os.path.basename(os.fspath(path)).startswith(KEPT):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(path))
    unlink(path, *args, **kwargs)


if __name__ == "__main__":
    # Path.unlink looks it up at each call.
    os.unlink = os.remove = refuse
    main()
