"""What the exit codes of a runner of Airflow workloads mean; agreed between runner and executor."""

from __future__ import annotations

SUPERSEDED = 75
"""The task instance runs elsewhere, was changed, or is gone, and so did not start here: neither success nor failure of this attempt."""
STOPPED_BY_SERVER = 76
"""It ran, and was ended because the task instance was marked, cleared or deleted meanwhile."""
COULD_NOT_RUN = 70
"""The workload was read but could not be run; the reason is in the task's log and the last line of stderr."""
UNREADABLE_WORKLOAD = 66
"""The workload could not be read, so the task's log is not known; the reason is the last line of stderr."""
_ORDINARY_FAILURE = 1
_RESERVED = frozenset({SUPERSEDED, STOPPED_BY_SERVER, COULD_NOT_RUN, UNREADABLE_WORKLOAD})


def from_supervisor(code: int) -> int:
    """Return the runner's exit code for what Airflow's supervisor returned; it gives signals as negative numbers."""
    if code < 0:
        return 128 - code
    # A task process may exit with a code that means something else here.
    return _ORDINARY_FAILURE if code in _RESERVED else min(code, 255)
