"""Whether a process that has imported something can still fork safely."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from air_executor.airflow import process_state

# An at-fork hook stays for ever: in a process of its own.
SCRIPT = """
from air_executor.airflow.importing import find_thread_objection, look_at_threads
import tests.support.restarting_thread

before = look_at_threads()
print(before.here, before.in_fork, *before.names)
for _ in range(20):
    print(find_thread_objection(before))
"""


def test_threads_that_each_fork_starts_anew_are_there_before_and_after():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout.splitlines() == ["2 2 restarting", *["None"] * 20]


@pytest.fixture
def kernel_counts(monkeypatch):
    """What the kernel says at each look; Python knows of the main thread and one more."""
    counts = []
    monkeypatch.setattr(process_state, "count_threads", lambda: counts.pop(0) if len(counts) > 1 else counts[0])
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    return counts


def test_a_thread_that_has_ended_for_python_is_given_a_moment(kernel_counts):
    kernel_counts += [4, 4, 3, 2]
    assert process_state.count_settled_threads() == 2


def test_threads_of_libraries_are_counted_all_the_same(kernel_counts):
    kernel_counts += [5]
    assert process_state.count_settled_threads() == 5


def test_no_more_than_usual_is_not_waited_for(kernel_counts):
    kernel_counts += [5, 2]
    assert process_state.count_settled_threads(usual=5) == 5
