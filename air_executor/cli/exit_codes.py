"""What the exit codes of `air-executor` mean. A contract with scripts: see docs/cli.md."""

from __future__ import annotations

from air_executor.core.states import JobState

DONE = 0
"""Done; the job completed."""
FAILED = 1
"""The job failed, or the answer is no: no manager runs, `doctor` found a problem."""
USAGE = 2
"""The command line, or the job that it describes, is not valid."""
CANCELLED = 3
"""The job was cancelled."""
NOT_FOUND = 4
"""There is no such job, task or log."""
IMPOSSIBLE = 5
"""It could not be done: the base path cannot be used, the disk is full, the manager refused."""
TIMED_OUT = 124
"""The time to wait was over, as timeout(1) has it."""
INTERRUPTED = 130
"""Ctrl-C; jobs run on."""

_OF_JOBS = {JobState.COMPLETED: DONE, JobState.FAILED: FAILED, JobState.CANCELLED: CANCELLED}


def of_jobs(states: list[JobState]) -> int:
    """Return the code for jobs that are over: of the worst of them."""
    codes = {_OF_JOBS[state] for state in states}
    return next((code for code in (FAILED, CANCELLED) if code in codes), DONE)
