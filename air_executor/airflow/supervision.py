"""Wraps the loop in which Airflow's supervisor watches a task: makes its exits prompt, and learns why it ended."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from air_executor.airflow import compat, prompt_exit

_METHOD = "_monitor_subprocess"
_REQUEST_METHOD = "_handle_request"
_STOPPED_BY_SERVER = "SERVER_TERMINATED"
_GOES_ON_LATER = ("deferred", "up_for_reschedule", "awaiting_input")


class Supervision:
    """What was seen of the supervisor in this process; each runner has one."""

    def __init__(self, *, prompt: bool) -> None:
        """Change nothing yet."""
        self.was_stopped_by_server = False
        """The API server said that the task shall not run on: it was marked, cleared or deleted."""
        self.has_started = False
        """The API server has taken note that the task runs here."""
        self.goes_on_later = False
        """The API server has taken note that the task waits for something, and is to be run again then."""
        self._prompt = prompt and prompt_exit.is_possible()

    def install(self) -> tuple[str, ...]:
        """Wrap every supervisor class of this process; return the names of the classes changed.

        Idempotent. A class without the expected method is left as it is: it then waits as Airflow does.
        """
        installed = []
        for supervised in compat.find_supervised_classes():
            original = supervised.__dict__.get(_METHOD)
            if original is None or hasattr(original, "__wrapped__"):
                continue
            setattr(supervised, _METHOD, self._wrap(original))
            if (handle := supervised.__dict__.get(_REQUEST_METHOD)) is not None:
                setattr(supervised, _REQUEST_METHOD, self._listen(handle))
            if self._prompt:
                prompt_exit.shorten_patience(sys.modules.get(original.__module__))
            installed.append(supervised.__name__)
        return tuple(installed)

    def _wrap(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(original)
        def monitor(supervised: Any) -> None:
            self.has_started = True
            process = prompt_exit.watch(supervised) if self._prompt else None
            try:
                original(supervised)
                # Not after an error: 3.1 notes the state before it tells the server.
                self.goes_on_later = getattr(supervised, "_terminal_state", None) in _GOES_ON_LATER
            finally:
                if process is not None:
                    process.close()
                if getattr(supervised, "_terminal_state", None) == _STOPPED_BY_SERVER:
                    self.was_stopped_by_server = True

        return monitor

    def _listen(self, original: Callable[..., None]) -> Callable[..., None]:
        """Learn that a task was cleared or deleted, also when it ends by itself before the next heartbeat would tell."""

        @functools.wraps(original)
        def handle(supervised: Any, *arguments: Any, **options: Any) -> None:
            try:
                original(supervised, *arguments, **options)
            except Exception as error:
                if compat.is_gone(error) and _concerns(error, supervised):
                    self.was_stopped_by_server = True
                raise

        return handle


def _concerns(error: Any, supervised: Any) -> bool:
    """Claim that the request which failed was about the task instance itself."""
    return f"task-instances/{getattr(supervised, 'id', None)}" in str(error.request.url)
