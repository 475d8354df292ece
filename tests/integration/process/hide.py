"""Leave a process behind that hides as well as it can: `hide.py PID_FILE [stay]`.

It forks twice, leads a session of its own, closes every descriptor and forgets its environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time

if os.fork():
    os.wait()
    if "stay" in sys.argv:
        time.sleep(600)
    sys.exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "w") as file:
    file.write(f"{os.getpid()}\n")
os.closerange(0, 1024)
os.execve("/bin/sleep", ["sleep", "600"], {})
