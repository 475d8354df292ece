"""A fork server that forks instead of spawning: what a warm parent does, without Airflow; with templates if asked to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Hashable
from pathlib import Path

from air_executor.process import template_roster
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.fork_server import parse_arguments, serve_channel
from air_executor.process.protocol import Launch
from air_executor.process.template import Facts, TemplateMessage, TemplateProcess, UnsuitableError
from air_executor.process.templates import Standing
from air_executor.store.stamps import Stamp, find_changed, take_stamp

PREPARED: dict[str, str] = {}
"""What the template has read; empty in the fork server."""


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
    elif launch.command == "prepared":
        print(PREPARED.get("text", "nothing"), PREPARED.get("pid", ""))
    elif launch.command == "run once":
        with open(launch.args[0], "a") as file:
            file.write("ran\n")
        return 5
    elif launch.command == "burn":
        while time.process_time() < 0.1:
            pass
    elif launch.command == "nothing":
        return None  # type: ignore[return-value]
    return int(launch.args[-1]) if launch.command == "return" else 0


class FilePlan:
    """A template per file that the variable TEMPLATE names: it has read it. The file may ask for worse."""

    max_age_s = float(os.environ.get("TEMPLATE_AGE", "60"))
    most = 2
    prepare_limit_s = 1.5

    def find_key(self, launch: Launch) -> str | None:
        return launch.env.get("TEMPLATE")

    def prepare(self, key: Hashable) -> Facts:
        path = Path(str(key))
        facts = {"stamp": [*vars_of(take_stamp(str(path)))]}
        text = path.read_text().strip()
        with open(f"{path}.prepared", "a") as file:
            file.write(f"{os.getpid()}\n")
        if "change" in text:
            os.utime(path, ns=(0, time.time_ns()))
        if "refuse" in text:
            raise UnsuitableError("it says so", facts)
        if text == "die":
            os._exit(3)
        if text == "hang":
            time.sleep(3600)
        if text == "slow":
            time.sleep(0.5)
        if text == "leave":
            subprocess.Popen(["sleep", "654"])
            raise UnsuitableError("it leaves a process", facts)
        PREPARED.update(text=text, pid=str(os.getpid()))
        return facts

    def why_outdated(self, facts: Facts) -> str | None:
        return find_changed([Stamp(*facts["stamp"])]) if facts else None

    def suits(self, launch: Launch, facts: Facts) -> bool:
        return launch.env.get("SUITS") != "no"

    def note(self, standings: list[Standing]) -> None:
        for standing in standings:
            print("standing", standing.key, standing.reason, flush=True)


def vars_of(stamp: Stamp) -> tuple[object, ...]:
    return stamp.path, stamp.mtime_ns, stamp.size_bytes, stamp.inode


def die_when_told() -> None:
    """Have the first template kill itself, where TEMPLATE_DIES says: `before` or `after` it sends a message of a type."""
    moment, _, kind = os.environ.get("TEMPLATE_DIES", "").partition(" ")
    if not kind:
        return
    mark = os.environ["TEMPLATE_DIED"]
    say = TemplateProcess._say

    def say_and_die(template: TemplateProcess, message: TemplateMessage) -> None:
        is_it = type(message).__name__ == kind and not os.path.exists(mark)
        if is_it:
            Path(mark).touch()
        if is_it and moment == "before":
            os.kill(os.getpid(), 9)
        say(template, message)
        if is_it:
            os.kill(os.getpid(), 9)

    TemplateProcess._say = say_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    die_when_told()
    template_roster._ABANDONED_RETRY_S = 0.1
    words = sys.argv[1:]
    plan = FilePlan() if "--templates" in words else None
    sys.exit(serve_channel(parse_arguments([word for word in words if word != "--templates"]), ForkRunner(run), plan))
