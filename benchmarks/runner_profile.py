"""Measure where the CPU of one `true` task goes, without scheduler and API server, and what each measure of the warm parent brings.

Runners are forked from the real code of the warm parent, in the environment of AirExecutorExecutor; a fake execution
API, in a process of its own, answers them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.executors import EXECUTORS
from benchmarks.report import PROJECT, describe_machine, new_result_file, now
from benchmarks.stopping import clean_up_on_signals

_LIMIT_S = 10.0
"""Of each way to run them: what is slow is run fewer times."""
_PROCESS_LIMIT_S = 600


@dataclass(frozen=True)
class Variant:
    """A warm parent with some options of [air_executor]."""

    name: str
    options: dict[str, str] = field(default_factory=dict)


VARIANTS = (
    Variant("as it is"),
    Variant("without prompt_exit", {"prompt_exit": "False"}),
    Variant("without immortal_objects", {"immortal_objects": "False"}),
    Variant("without preload", {"preload": "False", "preload_listeners": "False"}),
)
_WAYS = {"alone": "one after the other", "at_once": "32 at once"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks runner_profile", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="runners of each way (default: 100)")
    parser.add_argument("--quick", action="store_true", help="20 runners, and only the warm parent as it is")
    options = parser.parse_args(arguments)
    clean_up_on_signals()
    EXECUTORS["air"].environment.install()
    file = new_result_file("runner-profile")
    result: dict[str, Any] = {"at": now(), "machine": describe_machine(), "variants": {}}
    count, variants = (20, VARIANTS[:1]) if options.quick else (options.count, VARIANTS)
    with _fake_api() as url:
        for variant in variants:
            print(f"a warm parent {variant.name}", flush=True)
            result["variants"][variant.name] = _measure(variant, url, count)
            file.write_text(json.dumps(result, indent=2) + "\n")
    print(render(result["variants"]))
    print(f"All numbers: {file.relative_to(PROJECT)}")
    return 0


def render(variants: dict[str, Any]) -> str:
    """Return the table of all variants."""
    lines = [
        "| CPU of a `true` task, user + system ms (page faults) | supervisor | task | warm parent | all, ms | elapsed, ms | runners |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, what in _WAYS.items():
        for name, measured in variants.items():
            runners, parent = measured[way]["runners"], measured[way]["parent"]
            parts = [*(_take_medians([each[role] for each in runners]) for role in ("supervisor", "task")), parent]
            cpu_ms = sum(part["user_ms"] + part["system_ms"] for part in parts)
            elapsed_ms = _take_medians([each["all"] for each in runners])["elapsed_ms"]
            cells = " | ".join(f"{p['user_ms']:.1f} + {p['system_ms']:.1f} ({p['faults']:,.0f})" for p in parts)
            lines.append(f"| {what}, {name} | {cells} | {cpu_ms:.1f} | {elapsed_ms:,.0f} | {len(runners)} |")
    return "\n".join(lines)


def _take_medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {what: statistics.median(row[what] for row in rows) for what in rows[0]}


def _measure(variant: Variant, url: str, count: int) -> dict[str, Any]:
    python = EXECUTORS["air"].environment.python
    with tempfile.TemporaryDirectory(prefix="air-bench-") as name:
        directory = Path(name)
        environment = {
            "LANG": "C.UTF-8",
            "PATH": f"{python.parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": name,
            "AIRFLOW_HOME": name,
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "benchmarks" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(directory / "logs"),
            "AIRFLOW__AIR_EXECUTOR__BASE_PATH": str(directory / "root"),
            **{f"AIRFLOW__AIR_EXECUTOR__{option.upper()}": value for option, value in variant.options.items()},
        }
        words = [str(python), "-m", "benchmarks.profiled_runners", str(count), str(_LIMIT_S), name]
        log = directory / "warm-parent.log"
        with log.open("w") as output:
            ended = subprocess.run(
                words, env=environment, cwd=PROJECT, stdout=output, stderr=output, check=False, timeout=_PROCESS_LIMIT_S
            )
        if ended.returncode != 0:
            text = log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"a warm parent {variant.name} could not be measured:\n{text}")
        found: dict[str, Any] = json.loads((directory / "costs.json").read_text())
        return found


@contextlib.contextmanager
def _fake_api() -> Iterator[str]:
    words = [sys.executable, "-m", "benchmarks.fake_execution_api"]
    with subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


if __name__ == "__main__":
    sys.exit(main())
