"""Where rehearsals take place: what they change of the process is put back, and what they say is heard by nobody.

For a process with one thread. It undoes what the code of tasks is known to do, not whatever code might.
"""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import structlog

_MISSING = object()


def perform(act: Callable[[Path], None]) -> None:
    """Call `act` with an empty directory, on the stage; the directory is removed."""
    # Contextvars that the act sets end with this copy of the context.
    contextvars.copy_context().run(_perform, act)


def _perform(act: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="air-executor-") as name, quiet(), _process_kept(name), _loggers_uncached():
        structlog.contextvars.clear_contextvars()
        # The handlers that tasks set stop a task, and must never be those of a warm parent, however shortly.
        with replaced(signal, signal=lambda number, _: signal.getsignal(number)):
            act(Path(name))


@contextmanager
def replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Give `owner` other attributes for a while; those that it does not have are added, and removed again.

    :raises TypeError: `owner` lets nothing be set.
    """
    kept = {name: vars(owner).get(name, _MISSING) for name in attributes}
    with ExitStack() as stack:
        for name, value in attributes.items():
            stack.callback(_restore, owner, name, kept[name])
            setattr(owner, name, value)
        yield


def _restore(owner: Any, name: str, value: Any) -> None:
    if value is not _MISSING:
        setattr(owner, name, value)
    elif name in vars(owner):
        delattr(owner, name)


@contextmanager
def _process_kept(directory: str) -> Iterator[None]:
    """Put back environment variables and `sys.path`, and forget modules that came from `directory`."""
    variables, path = dict(os.environ), list(sys.path)
    try:
        yield
    finally:
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        for name, value in variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        sys.path[:] = path
        for name in [name for name, module in list(sys.modules.items()) if _is_from(module, directory)]:
            del sys.modules[name]
        for entry in [entry for entry in sys.path_importer_cache if str(entry).startswith(directory)]:
            del sys.path_importer_cache[entry]


def _is_from(module: Any, directory: str) -> bool:
    # Not getattr: modules that load others when asked for an attribute would do so.
    file = getattr(module, "__dict__", {}).get("__file__")
    return isinstance(file, str) and file.startswith(directory + os.sep)


@contextmanager
def _loggers_uncached() -> Iterator[None]:
    """Keep loggers from remembering how they are set up here: a task sets them up anew, and they would not follow."""
    kept = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(cache_logger_on_first_use=False)
    try:
        yield
    finally:
        if kept is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**kept)


@contextmanager
def quiet() -> Iterator[None]:
    """Send what is printed and logged to nowhere, whoever holds which stream."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nowhere, number)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
