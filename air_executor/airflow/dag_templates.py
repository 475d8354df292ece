"""DAG templates: which launches may come from a process that has parsed their DAG file already, and for how long."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import msgspec

from air_executor.airflow import compat, dag_parse
from air_executor.airflow.dag_parse import DagFile, ParseFacts
from air_executor.airflow.executor_config import TEMPLATE_VARIABLE
from air_executor.core.preload import TemplateNote
from air_executor.process.protocol import Launch
from air_executor.process.template import Facts
from air_executor.process.templates import Standing
from air_executor.store.records import utc_now
from air_executor.store.stamps import Stamp, find_changed

if TYPE_CHECKING:
    from air_executor.airflow.options import Options

_MOST = 8
_PARSE_MARGIN_S = 30.0
_MOST_BYTES = 4 * 1024 * 1024


class _BundleInfo(msgspec.Struct):
    name: str
    version: str | None = None


class _ExecuteTask(msgspec.Struct):
    """What of a workload tells which DAG file it is of."""

    dag_rel_path: str
    bundle_info: _BundleInfo
    ti: msgspec.Raw
    """Only tasks have one."""


_WORKLOADS = msgspec.json.Decoder(_ExecuteTask)


class DagTemplates:
    """The plan of a warm parent."""

    most = _MOST

    def __init__(
        self,
        options: Options,
        *,
        import_limit_s: float,
        set_up_logging: Callable[[], None],
        note: Callable[[list[TemplateNote]], None],
    ) -> None:
        """Parse nothing yet.

        :param import_limit_s: how long Airflow lets the import of a DAG file take; 0 for ever.
        :param note: writes down how it stands.
        """
        self.max_age_s = options.dag_template_max_age_s
        self.prepare_limit_s = (import_limit_s or 600.0) + _PARSE_MARGIN_S
        self._is_default = options.dag_templates
        self._memory_limit_bytes = options.dag_template_memory_limit_bytes
        self._set_up_logging = set_up_logging
        self._note = note

    def find_key(self, launch: Launch) -> DagFile | None:
        """Tell of which DAG file a launch is; None where it is of none, or wants no template."""
        asked = launch.env.get(TEMPLATE_VARIABLE)
        is_wanted = self._is_default if asked is None else asked == "1"
        if not is_wanted or self.max_age_s <= 0 or launch.workload_path is None:
            return None
        try:
            with open(launch.workload_path, "rb") as file:
                workload = _WORKLOADS.decode(file.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
            # No task; or its runner says what is wrong with it.
            return None
        bundle = workload.bundle_info
        return DagFile(bundle.name, bundle.version, workload.dag_rel_path, launch.cwd)

    def prepare(self, key: Hashable) -> Facts:
        """Parse the DAG file in the calling process; raises UnsuitableError."""
        assert isinstance(key, DagFile)
        compat.set_title(f"air-executor DAG template: {key.path}")
        return dag_parse.parse_for_tasks(key, self._memory_limit_bytes, self._set_up_logging)

    def why_outdated(self, facts: Facts) -> str | None:
        """Return the first file that the parse has read and that is not as it was."""
        return find_changed(Stamp(*each) for each in facts.get("stamps", ()))

    def suits(self, launch: Launch, facts: Facts) -> bool:
        """Claim that the task has the environment of the parse, as far as that was asked for."""
        own = launch.env.keys() & facts.get("variables", ())
        return all(launch.env[name] == os.environ.get(name) for name in own)

    def note(self, standings: list[Standing]) -> None:
        """Write down how it stands."""
        self._note([_describe(standing) for standing in standings])


def _describe(standing: Standing) -> TemplateNote:
    key = standing.key
    assert isinstance(key, DagFile)
    facts = msgspec.convert(standing.facts, ParseFacts)
    return TemplateNote(
        bundle=key.bundle,
        version=key.version,
        path=key.path,
        reason=standing.reason,
        seconds=facts.seconds,
        memory_bytes=facts.memory_bytes,
        at=utc_now(),
    )
