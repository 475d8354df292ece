"""Sets up logging in the process of a task without writing to the loggers that are as they are to be.

Airflow sets it up anew in each of them, with `dictConfig`. That goes through all loggers for each logger below one that it
configures, and writes to all of them: some hundred pages that the process would otherwise share with its warm parent, where
logging was set up in the same way.
"""

from __future__ import annotations

import functools
import logging
import logging.config
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from air_executor.airflow.rehearsal_stage import replaced

_MODULE = "airflow.sdk.execution_time.supervisor"
_FUNCTION = "_configure_logs_over_json_channel"


def install() -> bool:
    """Have Airflow's supervisor set up the logging of its tasks in this way; False where it does so otherwise, as ever then.

    Airflow must have been imported.
    """
    supervisor: Any = sys.modules.get(_MODULE)
    original = getattr(supervisor, _FUNCTION, None)
    if original is None or hasattr(original, "__wrapped__"):
        return False
    if not hasattr(logging.config, "_handle_existing_loggers") or not hasattr(logging.Manager, "_clear_cache"):
        return False

    @functools.wraps(original)
    def configure(*arguments: Any) -> None:
        with loggers_spared():
            original(*arguments)

    setattr(supervisor, _FUNCTION, configure)
    return True


@contextmanager
def loggers_spared() -> Iterator[None]:
    """Let `dictConfig` write to a logger only what changes. For a process with one thread: what loggers cache is checked at the end."""
    manager = logging.root.manager
    with (
        replaced(logging.config, _handle_existing_loggers=_handle_existing_loggers),
        replaced(manager, _clear_cache=lambda: None),
    ):
        yield
    for logger in (logging.root, *manager.loggerDict.values()):
        # `isEnabledFor` fills it: by the levels that were.
        if getattr(logger, "_cache", None):
            logger._cache.clear()  # type: ignore[union-attr] # a placeholder has none


def _handle_existing_loggers(existing: Collection[str], child_loggers: Collection[str], disable_existing: bool) -> None:
    """Do what `logging.config` does with loggers that a new configuration does not name."""
    for name in existing:
        logger: Any = logging.root.manager.loggerDict[name]
        if name not in child_loggers:
            _put(logger, "disabled", disable_existing)
        elif not isinstance(logger, logging.PlaceHolder):
            if logger.level != logging.NOTSET:
                logger.setLevel(logging.NOTSET)
            _put(logger, "handlers", [])
            _put(logger, "propagate", True)


def _put(logger: Any, attribute: str, value: object) -> None:
    if getattr(logger, attribute, None) != value:
        setattr(logger, attribute, value)
