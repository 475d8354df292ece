from __future__ import annotations

import subprocess
import sys
from typing import Any, cast

import psutil

from benchmarks.processes import CpuReading, SupervisorSampler, pss_mib, split_cpu
from tests.support.waiting import wait_until

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint('busy', flush=True)\ninput()"


def reading(**seconds: float) -> CpuReading:
    nothing = dict.fromkeys(CpuReading.__dataclass_fields__, 0.0)
    return CpuReading(**{**nothing, **seconds})


def test_supervisors_that_stay_are_told_from_the_tasks_they_reaped() -> None:
    split = split_cpu(reading(pool_s=1, reaped_s=5), reading(pool_s=3, reaped_s=9), None, has_pool=True)
    assert (split["supervisor"], split["task"]) == (2, 4)


def test_supervisors_that_end_are_told_by_what_was_seen_of_them() -> None:
    before, after = reading(engine_s=1, reaped_s=5), reading(engine_s=2, reaped_s=9)
    split = split_cpu(before, after, 1.5, has_pool=False)
    assert (split["manager or worker"], split["supervisor"], split["task"]) == (1, 1.5, 2.5)
    assert split_cpu(before, after, None, has_pool=False)["task"] == 4


class Engine:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def engine_pids(self) -> list[int]:
        return [self.pid]


def test_sampler_keeps_what_a_child_used_after_it_has_ended() -> None:
    child_of_child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child_of_child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        with SupervisorSampler(cast(Any, Engine(engine.pid)), is_needed=True) as sampler:
            assert engine.stdout.readline() == b"busy\n"
            seen = wait_until(lambda: sampler.used_s, lambda used_s: (used_s or 0) >= 0.3)
            engine.communicate(b"\n")
        assert sampler.used_s is not None
        assert seen is not None
        assert sampler.used_s >= seen


def test_memory_of_processes_that_are_gone_counts_as_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        process = psutil.Process(ended.pid)
        ended.wait()
    assert pss_mib([process]) == 0
    assert pss_mib([psutil.Process()]) > 0
