"""The process that records the history: started by the manager while there is something to record, and gone when its input ends.

A byte on standard input says that journals have grown; the end of input, that nothing more will come. Neither is the truth:
what it records it finds in `history/`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence

from air_executor.errors import AirExecutorError, HistoryError
from air_executor.history.location import find_history_url, need_packages
from air_executor.store.backlog import drop_oldest
from air_executor.store.history_status import HistoryStatus, read_history_status, write_history_status
from air_executor.store.records import utc_now
from air_executor.store.root import Root

_log = logging.getLogger(__name__)

_PAUSE_S = 1.0
"""Between two rounds: what happens to a job within a second is written once."""
_NICE = 5
_LOCK_WAIT_S = 60.0
_LOCK_PAUSE_S = 0.05
_MOST_WAITING = 100_000
_MOST_WAITING_BYTES = 2 * 1024**3


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until the input ends, and return the exit status: 1 if the database cannot be used."""
    parser = argparse.ArgumentParser(prog="air_executor.history.writer", description=__doc__)
    parser.add_argument("--base-path", required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    root = Root.open(options.base_path, create=False)
    _stand_back()
    try:
        with _only_writer(root):
            record_until_end(root)
    except (AirExecutorError, OSError) as error:
        _give_up(root, str(error))
        return 1
    return 0


def record_until_end(root: Root) -> None:
    """Record what journals say and will say, until standard input ends.

    :raises HistoryError: the database cannot be used.
    :raises OSError: the disk refused.
    """
    need_packages()
    from air_executor.history import schema
    from air_executor.history.database import Database
    from air_executor.history.recorder import Recorder

    database = Database(root, find_history_url(root))
    try:
        schema.upgrade(database)
        recorder = Recorder(root, database)
        write_history_status(root, HistoryStatus(at=utc_now(), database=database.shown, dropped=_dropped(root)))
        may_grow = True
        while True:
            while recorder.record():
                pass
            if not may_grow:
                return
            may_grow = _wait()
    finally:
        database.close()


def _wait() -> bool:
    """Return True when there is news, False when no more will come."""
    if not os.read(sys.stdin.fileno(), 65536):
        return False
    time.sleep(_PAUSE_S)
    return True


def _stand_back() -> None:
    """Let everything else go first."""
    os.nice(_NICE)
    # Where the kernel schedules by session, niceness counts within the session only.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write(str(_NICE))


@contextlib.contextmanager
def _only_writer(root: Root) -> Iterator[None]:
    """Hold the lock of writers: that of a killed manager may still be at it."""
    fd = os.open(root.run / "history.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HistoryError("another process records the history of this base path already") from None
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(fd)


def _give_up(root: Root, error: str) -> None:
    """Say what is wrong, and see to it that what waits does not fill the disk."""
    print(error, file=sys.stderr)
    with contextlib.suppress(OSError):
        dropped = _dropped(root) + drop_oldest(root, most=_MOST_WAITING, most_bytes=_MOST_WAITING_BYTES)
        known = read_history_status(root)
        database = known.database if known else ""
        write_history_status(root, HistoryStatus(at=utc_now(), database=database, error=error, dropped=dropped))


def _dropped(root: Root) -> int:
    known = read_history_status(root)
    return known.dropped if known else 0


if __name__ == "__main__":
    sys.exit(main())
