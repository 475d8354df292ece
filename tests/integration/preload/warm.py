"""A warm parent that imports no Airflow: what is launched says which modules it found. For tests of generations."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from air_executor.airflow import provenance
from air_executor.airflow.installed import InstalledPackages
from air_executor.airflow.learned_modules import LearnedModules, LearnedPolicy
from air_executor.airflow.learned_preload import GenerationRequest
from air_executor.airflow.scouting import ScoutLimits
from air_executor.core.preload import Report
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.fork_server import parse_arguments, serve_channel
from air_executor.process.protocol import Launch
from air_executor.store.stamps import write_stamps


def main() -> int:
    """Load what was learned, then serve."""
    request, others = GenerationRequest.take(sys.argv[1:])
    assert request is not None
    began_ns = time.time_ns()
    packages = InstalledPackages()
    # The checkout changes while it is worked on.
    stamped = [path for path in packages.directories if path in os.environ["PYTHONPATH"].split(os.pathsep)]
    packages.directories = tuple(stamped)
    modules = LearnedModules(
        request.files,
        request.name,
        LearnedPolicy(scout_limits=ScoutLimits(cpu_s=2, asleep_s=4)),
        packages,
        packages.fingerprint(),
    )
    if request.mode == "trial":
        modules.try_candidates()
    elif request.mode == "verified":
        modules.load_verified()
    stamps = [provenance.stamp_unless_changed(path, began_ns) for path in stamped]
    write_stamps(request.files.stamps(request.name), stamps)
    modules.pass_on()

    def run(launch: Launch) -> int:
        hold = os.environ.get("A_TEST_HOLD")
        if launch.args and hold:
            while not Path(hold).exists():
                time.sleep(0.01)
        request.files.add_report(Report(tuple(launch.env.get("A_TEST_IMPORTS", "").split())))
        found = " ".join(sorted(name for name in sys.modules if name.startswith("a_")))
        version = getattr(sys.modules.get("a_good"), "ANSWER", None)
        print(os.getppid(), version, found)
        return 0

    return serve_channel(parse_arguments(others), ForkRunner(run))


if __name__ == "__main__":
    sys.exit(main())
