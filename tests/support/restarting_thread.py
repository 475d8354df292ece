"""Starts a thread when it is imported, and one anew in each fork, as OpenTelemetry does."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor


def _start() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
    threading.Thread(target=threading.Event().wait, daemon=True, name="restarting").start()


_start()
os.register_at_fork(after_in_child=_start)
