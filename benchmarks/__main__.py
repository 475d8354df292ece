"""`make bench`: run all parts of the benchmark in turn, or one part with options of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.stopping import clean_up_on_signals


@dataclass(frozen=True)
class Part:
    """One module with a `main` that takes `--quick` and writes its own section of docs/benchmarks.md."""

    module: str
    what: str
    minutes: float
    quick_minutes: float | None
    """None: `--quick` leaves it out."""


PARTS = (
    Part("side_by_side", "four executors of Airflow on the same DAGs", 60, 3),
    Part("hybrid", "1,237 tasks that a DAG finds: handed over, and as mapped tasks", 20, None),
    Part("engine", "the job engine beside the usual runners of small commands", 20, 1),
)


def main() -> int:
    """Run the parts and return the exit status: that of the last part that failed, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "\n".join(f"  {part.module:<16} {part.what}" for part in PARTS),
    )
    parser.add_argument("--quick", action="store_true", help="less work, in under five minutes; docs stay as they are")
    parser.add_argument("part", nargs="?", choices=[part.module for part in PARTS], help="run only this one")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of that part")
    options = parser.parse_args()
    clean_up_on_signals()

    chosen = [part for part in PARTS if part.module == (options.part or part.module)]
    if not options.part:
        if options.quick:
            chosen = [part for part in chosen if part.quick_minutes is not None]
        minutes = sum((part.quick_minutes or 0) if options.quick else part.minutes for part in chosen)
        print(f"{', '.join(part.module for part in chosen)}: about {minutes:g} minutes", flush=True)
    status = 0
    for part in chosen:
        print(f"=== {part.module}: {part.what}", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{part.module}", *(["--quick"] if options.quick else [])]
        # In a process of its own: none of a part's memory and threads is there when the next one measures.
        found = _run([*command, *options.options])
        print(f"=== {part.module}: exit status {found}, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
        status = found or status
    return status


def _run(command: list[str]) -> int:
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The part cleans up after itself; Ctrl-C has reached it too, another signal has not.
        process.terminate()
        process.wait(120)
        raise


if __name__ == "__main__":
    sys.exit(main())
