"""The tasks of a job that could start now, the most urgent first."""

from __future__ import annotations

import heapq

from air_executor.core.task import Task


class ReadyTasks:
    """Hands each task out once. Some in it are no longer ready: a replay launches what was never taken."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Task]] = []
        self._listed: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, task: Task) -> None:
        """List a task; listed twice, it would be handed out twice before its first launch is recorded."""
        if task.spec.id not in self._listed:
            self._listed.add(task.spec.id)
            # No two have the same place in the job, so tasks themselves are never compared.
            heapq.heappush(self._queue, (-task.spec.priority, task.order, task))

    def take(self) -> Task | None:
        """Return the next task that is ready, and forget it; None if there is none."""
        while self._queue:
            task = heapq.heappop(self._queue)[2]
            self._listed.discard(task.spec.id)
            if task.is_ready:
                return task
        return None

    def any_left(self) -> bool:
        """Claim that one of them is ready; nothing is taken."""
        return any(task.is_ready for _, _, task in self._queue)

    def clear(self) -> None:
        """Forget all."""
        self._queue.clear()
        self._listed.clear()
