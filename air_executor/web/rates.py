"""How fast jobs go, as far as this process has looked at them: a bounded number of them, any thread."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from air_executor.client import JobView
from air_executor.core.progress import Progress, Rate, count_ended, measure_progress

_PAUSE_S = 0.2


class Rates:
    """The rates of the jobs that were looked at last."""

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._rates: OrderedDict[tuple[str, str], tuple[Rate, float]] = OrderedDict()
        self._lock = threading.Lock()

    def measure(self, job: JobView) -> Progress:
        """Take a look at a job whose counts are known and return its progress."""
        if job.state.is_terminal:
            return measure_progress(job.name, job.state, job.tasks)
        now = time.monotonic()
        # A job of the same name that is submitted later is another one.
        key = (job.name, job.id)
        with self._lock:
            known = self._rates.pop(key) if key in self._rates else None
            rate, noted_at = known or (Rate(), float("-inf"))
            # However many look, the samples of the last seconds stay few.
            if now - noted_at >= _PAUSE_S:
                rate.note(now, count_ended(job.tasks))
                noted_at = now
            self._rates[key] = rate, noted_at
            while len(self._rates) > self._limit:
                self._rates.popitem(last=False)
            return measure_progress(job.name, job.state, job.tasks, rate)
