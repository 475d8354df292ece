"""Holes in the heap are filled once; in processes of their own, whose heap is then full."""

from __future__ import annotations

import subprocess
import sys

from air_executor.airflow import settled_heap

SCRIPT = """
import sys
from air_executor.airflow import settled_heap

kept = [bytes(200) for _ in range(50_000)]
del kept[::2]

def count_holes():
    return sum(size * count for size, count in settled_heap._count_free_blocks().items())

before = count_holes()
assert before > 4_000_000, before
assert settled_heap.fill_holes() >= before
after = count_holes()
assert after < before / 20, (before, after)
# What is allocated now lies close together.
pages = {id(each) // 4096 for each in [bytes(200) for _ in range(1000)]}
assert len(pages) < 100, len(pages)
print("filled", file=sys.stderr)
"""


def run(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_holes_are_filled_and_standard_error_is_as_it_was():
    result = run(SCRIPT)
    assert (result.returncode, result.stderr) == (0, "filled\n")


def test_very_many_holes_are_left_alone(monkeypatch):
    monkeypatch.setattr(settled_heap, "_count_free_blocks", lambda: {512: 1_000_000})
    assert settled_heap._fill_python() == 0


def test_a_python_that_does_not_tell_of_holes_is_left_alone(monkeypatch):
    monkeypatch.delattr(sys, "_debugmallocstats", raising=False)
    assert settled_heap._fill_python() == 0
