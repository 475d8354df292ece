"""A fork server that forks instead of spawning: what a warm parent does, without Airflow."""

from __future__ import annotations

import os
import subprocess
import sys

from air_executor.process.fork_server import parse_arguments, serve_channel
from air_executor.process.protocol import Launch
from air_executor.process.runner import ForkRunner


def run(launch: Launch) -> int:
    """Do what the command says, inside the fork."""
    if launch.command == "print":
        print(*launch.args, os.environ.get("GREETING"), os.getcwd())
    elif launch.command == "raise":
        raise RuntimeError("this task is broken")
    elif launch.command == "exit":
        sys.exit(launch.args[0])
    elif launch.command == "descriptors":
        for descriptor in sorted(int(name) for name in os.listdir("/proc/self/fd")):
            try:
                print(descriptor, os.readlink(f"/proc/self/fd/{descriptor}"))
            except FileNotFoundError:
                continue
    elif launch.command == "spawn":
        return subprocess.call(launch.args)
    elif launch.command == "nothing":
        return None  # type: ignore[return-value]
    return int(launch.args[-1]) if launch.command == "return" else 0


if __name__ == "__main__":
    sys.exit(serve_channel(parse_arguments(sys.argv[1:]), ForkRunner(run)))
