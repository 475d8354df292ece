"""`make bench`: run all parts of the benchmark in turn, or one part with options of its own."""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.report import PROJECT, describe_machine, now, write_into
from benchmarks.stopping import clean_up_on_signals

_PAGE = PROJECT / "docs" / "benchmarks.md"
_CLEAN_UP_LIMIT_S = 120


@dataclass(frozen=True)
class Part:
    """One module with a `main`."""

    module: str
    what: str
    minutes: float
    quick_minutes: float | None = None
    """None: `--quick` leaves it out."""
    is_printed: bool = False
    """Whether it prints its figures, and its section of docs/benchmarks.md is made of that; the others write theirs."""


PARTS = (
    Part("side_by_side", "the executors of Airflow on the same DAGs", 50, quick_minutes=3.5),
    Part("hybrid", "1,237 tasks that a DAG finds: handed over, and as mapped tasks", 20),
    Part("engine", "the job engine beside the usual runners of small commands", 20, quick_minutes=1.5),
    Part("deferred_waits", "100 deferred waits at once", 4, is_printed=True),
    Part("http_progress", "progress over HTTP of a job of 10,000 tasks", 2, is_printed=True),
    Part("history_cost", "what the history costs", 5, is_printed=True),
    Part("runner_profile", "where the CPU of one task goes", 2, is_printed=True),
    Part("soak", "what grows over 10,000 tasks", 20, is_printed=True),
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
        command = [sys.executable, "-u", "-m", f"benchmarks.{part.module}", *(["--quick"] if options.quick else [])]
        # In a process of its own: none of a part's memory and threads is there when the next one measures.
        found, output = _run([*command, *options.options])
        print(f"=== {part.module}: exit status {found}, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
        if part.is_printed and output and not (options.quick or options.options):
            _write_section(part, output)
        status = found or status
    return status


def _write_section(part: Part, output: list[str]) -> None:
    # Tables are Markdown as they are; anything else keeps its columns in a block of code.
    table = [line for line in output if line.startswith("|")]
    block = [*table, "", *(line for line in output if line.startswith("goal"))] if table else ["```", *output, "```"]
    machine = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    text = "\n".join([f"Measured {now()}: {machine}.", "", *block])
    write_into(_PAGE, text, f"<!-- {part.module}: written by make bench -->", f"<!-- end of {part.module} -->")


def _run(command: list[str]) -> tuple[int, list[str]]:
    """Run a command, show what it prints, and return its exit status and that."""
    # In a session of its own, so that Ctrl-C reaches a part once, through us: a second one would break off its clean-up.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )
    output = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            output.append(line.rstrip())
        return process.wait(), output
    except KeyboardInterrupt:
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                # Reads on, or the part could block on a full pipe.
                process.communicate(timeout=_CLEAN_UP_LIMIT_S)
                break
        raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Stopped; what was started has been ended.")
        sys.exit(130)
