"""What a manager may be told: by its command line, else by `settings.json` in the root, else these defaults."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from air_executor.core.specs import Count, Seconds
from air_executor.errors import DamagedFileError
from air_executor.store.files import decode_json, read_bytes
from air_executor.store.root import Root


class ManagerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a manager; `air-executor manager reload` makes it read settings.json again."""

    slots: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 32
    """How many attempts run at once, over all jobs; an executor's jobs have as many of their own."""
    kill_grace_s: Seconds = 5.0
    """Between SIGTERM and SIGKILL of an attempt that is to end."""
    fork_server_idle_s: Seconds = 5.0
    """A fork server for commands leaves after this long without a runner."""
    warm_parent_idle_s: Seconds = 600.0
    """A warm parent leaves after this long without a runner; starting one costs seconds."""
    rescan_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 5.0
    """How often jobs/ and requests/ are listed although no file event came."""
    view_interval_s: Seconds = 0.25
    """state.json and tasks.json of a job that changes are rewritten no more often."""
    keep_finished_jobs: Count = 1000
    """As many finished jobs stay in jobs/; older ones move to archive/."""
    archive_after_s: Seconds = 7 * 86400.0
    """Finished jobs move to archive/ after this long at the latest."""
    keep_announced_jobs: Count = 10_000
    """As many finished jobs that an executor submitted stay; older ones are removed, as Airflow keeps their record."""
    keep_announced_s: Seconds = 86400.0
    """Finished jobs that an executor submitted are removed after this long at the latest; 0 removes them at once."""
    use_cgroups: bool = True
    """Put each attempt into a cgroup v2 of its own where that is possible."""
    metrics_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """Port of the Prometheus endpoint; None: there is none."""
    metrics_host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = "127.0.0.1"
    """Address that the Prometheus endpoint listens on."""
    history: bool = False
    """Record jobs in the database of the history (docs/history.md)."""
    history_url: str | None = None
    """SQLAlchemy URL of that database; None: a SQLite file in the root. May hold a password: not for a command line."""


def load_settings(root: Root, overrides: dict[str, Any]) -> ManagerSettings:
    """Return the settings in force.

    :param overrides: what the command line set, by field name; these win over settings.json.
    :raises DamagedFileError: settings.json or an override is not valid; the field is named.
    """
    path = root.path / "settings.json"
    try:
        content, _ = read_bytes(path)
        written = decode_json(content, dict[str, Any], path)
    except FileNotFoundError:
        written = {}
    try:
        return msgspec.convert({**written, **overrides}, ManagerSettings)
    except msgspec.ValidationError as error:
        raise DamagedFileError(
            f"settings of the manager ({path} and its options): {error}; correct that field"
        ) from error
