"""Runs a manager, a fork server or a writer of the history that kills itself by SIGKILL at the k-th call of one of its functions.

`python -m tests.support.failpoints manager run ...` is the manager, which starts its first fork server the same way. The variable
FAILPOINT says where: `{"process", "module", "name", "moment", "call", "fired"}`; `fired` is a file that is made by the kill, so
that it happens once. The product knows nothing of this.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

VARIABLE = "FAILPOINT"


class Failpoint(msgspec.Struct, frozen=True):
    """Where a process kills itself."""

    process: str
    """`manager`, `server` or `writer`."""
    module: str
    name: str
    """A function of the module, or `Class.method`."""
    moment: str
    """`before` or `after` the call."""
    call: int
    fired: str

    def __str__(self) -> str:
        """Return what the test is called."""
        return f"{self.process} {self.moment} {self.module.rpartition('.')[2]}.{self.name} {self.call}"

    def arm(self) -> None:
        """Replace the function by one that counts, and kills at its time."""
        holder: Any = importlib.import_module(self.module)
        *parents, last = self.name.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        setattr(holder, last, self._watch(getattr(holder, last)))

    def _watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and self.moment == "before":
                self._fire()
            result = function(*args, **kwargs)
            if calls == self.call and self.moment == "after":
                self._fire()
            return result

        return watched

    def _fire(self) -> None:
        try:
            os.close(os.open(self.fired, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run what the arguments name, armed."""
    text = os.environ.pop(VARIABLE)
    failpoint = msgspec.json.decode(text, type=Failpoint)
    if sys.argv[1] == "server":
        from air_executor.process import fork_server

        failpoint.arm()
        sys.exit(fork_server.main(sys.argv[2:]))
    if sys.argv[1] == "writer":
        from air_executor.history import writer

        failpoint.arm()
        sys.exit(writer.main(sys.argv[2:]))
    from air_executor.cli import main as cli
    from air_executor.manager import launcher

    if failpoint.process == "manager":
        importlib.import_module("air_executor.manager.daemon")
        failpoint.arm()
    else:
        real = launcher.spawn_fork_server

        def spawn(argv: Any, *args: Any, environment: Any = None, **kwargs: Any) -> Any:
            """Start an armed fork server."""
            own = [sys.executable, "-m", "tests.support.failpoints", "server"]
            root = str(Path(__file__).resolve().parents[2])
            return real(own, *args, environment={**environment, VARIABLE: text, "PYTHONPATH": root}, **kwargs)

        launcher.spawn_fork_server = spawn
    cli.main()


if __name__ == "__main__":
    main()
