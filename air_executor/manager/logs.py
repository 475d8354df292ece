"""The manager's log: one readable line a record, whatever the message holds, in a file that rotates."""

from __future__ import annotations

import logging
import logging.handlers
import os
import time
from io import TextIOWrapper

from air_executor.store.root import Root

_MAX_BYTES = 10 * 1024 * 1024
_BACKUPS = 3


class OneLineFormatter(logging.Formatter):
    """Time in UTC, level, message; control characters are escaped, so that no task can forge a line."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt=None)
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        text = super().format(record)
        return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """Creates its file with mode 0600, and never writes through a symbolic link."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return open(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8", errors="backslashreplace")


def set_up_logging(root: Root, *, verbose: bool, in_background: bool) -> None:
    """Send log records to manager.log, and in the foreground to standard error too."""
    logger = logging.getLogger("air_executor")
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    handlers: list[logging.Handler] = [_PrivateFileHandler(root.manager_log, maxBytes=_MAX_BYTES, backupCount=_BACKUPS)]
    if not in_background:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(OneLineFormatter())
        logger.addHandler(handler)


def _escape(char: str) -> str:
    return "\\n" if char == "\n" else char.encode("unicode_escape").decode("ascii")
