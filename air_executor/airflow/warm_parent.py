"""The warm parent: a fork server with Airflow imported. `python -m air_executor.airflow.warm_parent --channel-fd N --spool PATH`

It imports first and serves then, without open connections or threads of its own beside the main one, so that its forks are safe
and cheap. OpenTelemetry has some where Airflow is told to trace or measure, and starts them anew in each fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from air_executor.process.fork_runner import ForkRunner
from air_executor.process.fork_server import parse_arguments, serve_channel

if TYPE_CHECKING:
    from air_executor.airflow.dag_templates import DagTemplates
    from air_executor.airflow.learned_preload import GenerationRequest
    from air_executor.airflow.options import Options
    from air_executor.core.preload import TemplateNote


def main(arguments: Sequence[str] | None = None) -> int:
    """Load what every task needs, then fork runners until the manager retires this process."""
    from air_executor.airflow.learned_preload import GenerationRequest, LearnedPreload

    request, others = GenerationRequest.take(sys.argv[1:] if arguments is None else arguments)
    server_arguments = parse_arguments(others)
    # A scheduler that was started by hand from a task's shell would pass these on.
    os.environ.pop("_AIRFLOW_PROCESS_CONTEXT", None)

    from air_executor.airflow import compat, preload

    learned = LearnedPreload(request) if request is not None else None
    options = preload.read_own_options()
    run_workload = preload.load(options, learned)
    compat.set_title("air-executor warm parent")
    runners = ForkRunner(run_workload, run_workload.get_ready)
    return serve_channel(server_arguments, runners, _plan_templates(options, request))


def _plan_templates(options: Options, request: GenerationRequest | None) -> DagTemplates:
    from air_executor.airflow import preload
    from air_executor.airflow.compat import find_import_limit_s
    from air_executor.airflow.dag_templates import DagTemplates

    def note(notes: list[TemplateNote]) -> None:
        # Nothing depends on it but what people are shown.
        with contextlib.suppress(OSError):
            if request is not None:
                request.files.write_templates(request.name, notes)

    return DagTemplates(options, import_limit_s=find_import_limit_s(), set_up_logging=preload.set_up_logging, note=note)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the objects may be immortal, and Airflow's exit handlers have nothing to do here.
    os._exit(code)
