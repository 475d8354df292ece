"""Memory is moved, never changed; and a kernel that cannot is asked once."""

from __future__ import annotations

import os
import subprocess
import sys

from air_executor.airflow import huge_pages

SMAPS = """\
10000000-10600000 rw-p 00000000 00:00 0                                  [heap]
Size:               6144 kB
Rss:                6140 kB
10a00000-10e00000 rw-p 00000000 00:00 0
Size:               4096 kB
Rss:                1024 kB
20100000-20700000 rw-p 00000000 00:00 0
Size:               6144 kB
Rss:                6144 kB
30000000-30400000 r--p 00000000 00:00 0
Size:               4096 kB
Rss:                4096 kB
40000000-40400000 rw-p 00000000 fe:00 1234                               /usr/lib/x.so
Size:               4096 kB
Rss:                4096 kB
50000000-50100000 rw-p 00000000 00:00 0
Size:               1024 kB
Rss:                1024 kB
"""


def test_only_whole_blocks_of_full_private_memory_are_moved(tmp_path):
    path = tmp_path / "smaps"
    path.write_text(SMAPS)
    found = list(huge_pages._list_blocks(str(path)))
    assert found == [0x10000000, 0x10200000, 0x10400000, 0x20200000, 0x20400000]


def test_a_missing_file_moves_nothing():
    assert huge_pages.collapse("/nowhere/smaps") == 0


def test_what_is_refused_is_no_error(tmp_path):
    path = tmp_path / "smaps"
    # Nothing is mapped there.
    path.write_text("00200000-00600000 rw-p 00000000 00:00 0 \nSize: 4096 kB\nRss: 4096 kB\n")
    assert huge_pages.collapse(str(path)) == 0


def test_contents_stay_and_memory_does_not_grow():
    script = """
import os
from air_executor.airflow import huge_pages
kept = [bytes([number % 256]) * 400 for number in range(100_000)]

def rss_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

before_kib = rss_kib()
moved = huge_pages.collapse()
assert rss_kib() < before_kib * 1.1 + 4096, (moved, before_kib, rss_kib())
pid = os.fork()
assert all(item == bytes([number % 256]) * 400 for number, item in enumerate(kept))
kept.clear()
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=dict(os.environ))
