"""Has a triggerer tell Airflow of a trigger's event at once, instead of at its next second.

Airflow's TriggerRunner sends what triggers fired once a second. Its own method for that is called here a moment earlier;
nothing is replaced, and where Airflow has changed, the event leaves within a second as ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

_log = logging.getLogger(__name__)
_RUNNER = "TriggerRunner"
_LOOP = "arun"
_SEND = "sync_state_to_supervisor"
_QUEUES = ("events", "failed_triggers")
"""What the method takes along."""
_found: dict[asyncio.AbstractEventLoop, Any] = {}


async def send_events() -> None:
    """Have the events that triggers of this event loop have fired sent now. Raises no error but its own cancellation."""
    loop = asyncio.get_running_loop()
    if loop not in _found:
        _found.clear()
        _found[loop] = _find_runner()
    runner = _found[loop]
    # Another trigger's call may have taken ours along.
    if runner is None or not runner.events:
        return
    queues = [queue for name in _QUEUES if isinstance(queue := getattr(runner, name, None), deque)]
    before = [tuple(queue) for queue in queues]
    try:
        await getattr(runner, _SEND)([])
    except Exception as error:
        # It may have taken them out before it failed, also those of other triggers: back, for Airflow's own next second.
        for queue, entries in zip(queues, before, strict=True):
            kept = {id(entry) for entry in queue}
            queue.extendleft(entry for entry in reversed(entries) if id(entry) not in kept)
        _log.debug("Airflow sends the event at its own time: %s", error)


def _find_runner() -> Any:
    """Return the object that runs the triggers of this event loop: its main coroutine is a method of it."""
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        runner = frame.f_locals.get("self") if frame is not None and frame.f_code.co_name == _LOOP else None
        if any(kind.__name__ == _RUNNER for kind in type(runner).__mro__) and hasattr(runner, _SEND):
            return runner if hasattr(runner, "events") else None
    return None
