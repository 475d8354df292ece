"""Starting a fork server: a process that outlives the manager, holds one end of its channel and nothing else of it."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from air_executor.process.channel import Channel
from air_executor.process.descriptors import inheritable_descriptors
from air_executor.process.protocol import Report

_CHANNEL_FD = 3
_MODULE = "air_executor.process.fork_server"
_BOOT = f"import sys; sys.path += (sys.argv.pop(1), sys.argv.pop(1)); from {_MODULE} import main; sys.exit(main())"


class ServerProcess(msgspec.Struct, frozen=True):
    """A fork server just started. The caller is its parent and reaps it."""

    pid: int
    channel: Channel[Report]
    spool_path: str


def command_server_argv() -> list[str]:
    """Tell how to run the fork server for commands, so that the working directory cannot shadow its modules."""
    package_root = str(Path(__file__).resolve().parents[2])
    if package_root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return [sys.executable, "-I", "-m", _MODULE]
    # Run from a checkout: an isolated interpreter would not find it. Without site-packages (-S) and with the
    # standard library first, nothing that is installed beside msgspec can take the place of a standard module.
    msgspec_root = str(Path(msgspec.__file__).resolve().parents[1])
    return [sys.executable, "-I", "-S", "-c", _BOOT, package_root, msgspec_root]


def spawn_fork_server(
    argv: Sequence[str],
    spool_path: str,
    *,
    log_path: str,
    environment: Mapping[str, str] | None = None,
    use_cgroups: bool = True,
) -> ServerProcess:
    """Start a fork server in a session of its own, its messages appended to `log_path`; raises OSError.

    `argv` is `command_server_argv()` or that of a warm parent, to which the channel and spool are added. Returns at
    once: the server sends `Ready` when it has loaded.
    """
    ours, theirs = socket.socketpair()
    log_fd = os.open(log_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    arguments = ["--channel-fd", str(_CHANNEL_FD), "--spool", spool_path, "--cgroups", "auto" if use_cgroups else "off"]
    try:
        pid = os.posix_spawn(
            argv[0],
            [*argv, *arguments],
            os.environ if environment is None else environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log_fd, 1),
                (os.POSIX_SPAWN_DUP2, log_fd, 2),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), _CHANNEL_FD),
                # Somebody waits for the end of file of a pipe that this process was given, and the server lives long.
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inheritable_descriptors(beyond=_CHANNEL_FD)),
            ),
            # A terminal's Ctrl-C and hang-up are for the manager: the server must outlive it.
            setsid=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(log_fd)
    return ServerProcess(pid, Channel(ours, Report), spool_path)
