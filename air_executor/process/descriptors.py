"""Which descriptors a program started by this process would inherit; spawning does not close them by itself."""

from __future__ import annotations

import os


def inheritable_descriptors(beyond: int = 2) -> list[int]:
    """List open descriptors above `beyond` that lack close-on-exec: given to this process, or opened by a C library."""
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            if int(name) > beyond and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            # The listing's own.
            continue
    return found


def keep_descriptors_private() -> None:
    """Have programs started from now on inherit standard input and output alone."""
    for descriptor in inheritable_descriptors():
        os.set_inheritable(descriptor, False)


def drain(pipe: int) -> None:
    """Read what waits in a pipe that does not block: it was only to wake somebody."""
    try:
        while len(os.read(pipe, 4096)) == 4096:
            pass
    except BlockingIOError:
        pass
