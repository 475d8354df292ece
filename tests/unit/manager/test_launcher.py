from __future__ import annotations

import socket
import time
from pathlib import Path

from air_executor.manager.launcher import LocalLauncher, LocalServer, ServerKey
from air_executor.manager.settings import ManagerSettings
from air_executor.process.channel import Channel
from air_executor.process.protocol import Ready, Report
from air_executor.process.spawn import ServerProcess
from air_executor.store.root import Root


def test_the_time_that_a_server_took_to_start_is_no_idle_time(root: Root, tmp_path: Path) -> None:
    launcher = LocalLauncher(root, ManagerSettings(fork_server_idle_s=60.0), use_server=lambda _: None)
    ours, theirs = socket.socketpair()
    process = ServerProcess(1, Channel(ours, Report), str(tmp_path / "spool"))
    server = LocalServer(ServerKey("command", None), process, tmp_path / "log")
    server.idle_since -= 50.0
    launcher._by_key[server.key] = server
    Channel(theirs, Report).send([Ready(pid=1, seconds=50.0)])

    launcher.receive(server)

    due = launcher.next_due()
    assert due is not None
    assert due > time.monotonic() + 30
    ours.close()
    theirs.close()
