"""A process beside the manager that works while there is something to do: woken through a pipe, gone when the pipe ends."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from air_executor.process.descriptors import inheritable_descriptors

_LONG_LOG_BYTES = 1024 * 1024
_BOOT = (
    "import sys, runpy; sys.path.append(sys.argv.pop(1)); "
    "module = sys.argv.pop(1); runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


class Companion:
    """One such process. The caller is its parent."""

    def __init__(self, module: str, arguments: list[str], *, log_path: str, environment: Mapping[str, str]) -> None:
        """Run a module of this package, its messages appended to `log_path`.

        :raises OSError: it could not be started.
        """
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        log_fd = -1
        try:
            log_fd = os.open(log_path, flags, 0o600)
            if os.fstat(log_fd).st_size > _LONG_LOG_BYTES:
                os.ftruncate(log_fd, 0)
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *_run_module(module), *arguments],
                environment,
                file_actions=(
                    (os.POSIX_SPAWN_DUP2, reader, 0),
                    (os.POSIX_SPAWN_DUP2, log_fd, 1),
                    (os.POSIX_SPAWN_DUP2, log_fd, 2),
                    *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inheritable_descriptors(beyond=2)),
                ),
                # A terminal's Ctrl-C is for the manager: this process ends when its input does.
                setsid=True,
            )
        except OSError:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)
            if log_fd >= 0:
                os.close(log_fd)
        self._is_finishing = False

    @property
    def is_finishing(self) -> bool:
        """Claim that it was told to leave."""
        return self._is_finishing

    def wake(self) -> None:
        """Tell it that there is something to do."""
        # A full pipe, or one that nobody reads any more: it knows already, or its end is seen soon.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._writer, b"\n")

    def finish(self) -> None:
        """Tell it to do what is left and to leave."""
        if not self._is_finishing:
            self._is_finishing = True
            os.close(self._writer)

    def has_exited(self) -> bool:
        """Claim that it is gone; it is reaped then."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            # Reaped with the orphans that fall to this process.
            return True


def _run_module(module: str) -> list[str]:
    """Tell how to run a module of this package, installed or in a checkout, so that the working directory shadows nothing."""
    package_root = str(Path(__file__).resolve().parents[2])
    if package_root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return ["-I", "-m", module]
    return ["-I", "-c", _BOOT, package_root, module]
