from __future__ import annotations

import os
from collections import Counter

import psutil

from air_executor.process.protocol import Ended, Started
from tests.integration.process.serving import Serving
from tests.support.waiting import wait_until


def run_many(server: Serving, count: int, portion: int) -> None:
    already = len(server.reports)
    for _ in range(0, count, portion):
        server.process.channel.send([server.message("true") for _ in range(portion)])
        already += 2 * portion
        wait_until(lambda: len(server.receive()), lambda seen, expected=already: seen >= expected, interval_s=0)  # type: ignore[misc]


def test_a_burst_of_launches_loses_none(server: Serving) -> None:
    messages = [server.message("true") for _ in range(1000)]
    server.process.channel.send(messages)
    wait_until(
        lambda: len([1 for report in server.receive() if isinstance(report, Ended)]),
        lambda count: count >= 1000,
        interval_s=0,
    )
    expected = Counter(message.attempt_id for message in messages)
    for kind in (Started, Ended):
        assert Counter(report.attempt_id for report in server.reports if isinstance(report, kind)) == expected
        assert Counter(report.attempt_id for report in server.spooled(kind)) == expected
    assert all(report.exit_code == 0 for report in server.reports if isinstance(report, Ended))


def test_nothing_is_leaked_over_many_tasks(server: Serving) -> None:
    process = psutil.Process(server.pid)
    run_many(server, 200, 20)
    descriptors, memory = process.num_fds(), process.memory_info().rss
    run_many(server, 2000, 20)
    assert process.num_fds() == descriptors
    assert process.children() == []
    assert process.memory_info().rss - memory < 2 * 2**20
    cgroup = next((report.cgroup for report in server.reports if isinstance(report, Started)), None)
    if cgroup is not None:
        # One is left: that of the next attempt.
        assert len([entry for entry in os.scandir(os.path.dirname(cgroup)) if entry.is_dir()]) == 1


def test_order_within_an_attempt_is_started_then_ended(server: Serving) -> None:
    run_many(server, 300, 50)
    seen: set[str] = set()
    for report in server.reports:
        if isinstance(report, Started):
            seen.add(report.attempt_id)
        elif isinstance(report, Ended):
            assert report.attempt_id in seen
