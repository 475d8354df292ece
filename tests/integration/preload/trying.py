"""A warm parent without Airflow: loads what was learned, as a trial or as a later start, and says what became of it.

`python -m tests.integration.preload.trying DIRECTORY GENERATION trial|verified [option=value ...]`
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from air_executor.airflow.installed import InstalledPackages
from air_executor.airflow.learned_modules import LearnedModules, LearnedPolicy
from air_executor.airflow.process_state import count_threads
from air_executor.airflow.scouting import ScoutLimits
from air_executor.process.subreaper import become_subreaper
from air_executor.store.learned import LearnedFiles


def main() -> None:
    """Load, and print what is so afterwards as JSON."""
    directory, name, mode, *words = sys.argv[1:]
    options = dict(word.split("=", 1) for word in words)
    become_subreaper()
    if "beside" in options:
        importlib.import_module(options["beside"])
    if "forks_die_at" in options:
        _have_forks_die(int(options["forks_die_at"]))
    limits = ScoutLimits(
        cpu_s=float(options.get("cpu_s", 1)),
        asleep_s=float(options.get("asleep_s", 4)),
        wall_s=float(options.get("wall_s", 60)),
    )
    policy = LearnedPolicy(
        allow=tuple(filter(None, options.get("allow", "").split(","))),
        deny=tuple(filter(None, options.get("deny", "").split(","))),
        memory_limit_bytes=int(options.get("memory", 256)) << 20,
        scout_limits=limits,
    )
    modules = LearnedModules(
        LearnedFiles(Path(directory)),
        name,
        policy,
        InstalledPackages(filter(None, options.get("volatile", "").split(","))),
        options.get("fingerprint", "same"),
        frozenset(filter(None, options.get("shadows", "").split(","))),
    )
    if mode == "trial":
        modules.try_candidates()
    else:
        modules.load_verified()
    modules.pass_on()
    print(
        json.dumps(
            {
                "modules": sorted(name for name in sys.modules if name.startswith(("a_", "b_"))),
                "threads": count_threads(),
                "children": _list_children(),
                "variables": sorted(name for name in os.environ if name.startswith("A_TEST_")),
            }
        )
    )


def _have_forks_die(generation: int) -> None:
    """End each fork of a fork ... of this process, so many generations from here."""
    depth = 0

    def begin() -> None:
        nonlocal depth
        depth += 1
        if depth == generation:
            os._exit(1)

    os.register_at_fork(after_in_child=begin)


def _list_children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


if __name__ == "__main__":
    main()
