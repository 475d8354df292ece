"""The section [air_executor] of airflow.cfg: what its options are called, mean and default to. Imports no Airflow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from air_executor.errors import ConfigurationError

SECTION = "air_executor"
_TRUE = frozenset({"true", "t", "1", "yes", "on"})
_FALSE = frozenset({"false", "f", "0", "no", "off"})
_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

_MODULE_PATTERN = re.compile(r"[\w.*?\[\]!-]+")

ReadOption = Callable[[str, str], "str | None"]
"""Return the text of an option, given section and name; None where nothing is set."""


@dataclass(frozen=True)
class OptionDescription:
    """One option as `airflow config list` shows it."""

    name: str
    type: Literal["string", "boolean", "integer", "float"]
    default: str
    description: str
    example: str | None = None
    is_sensitive: bool = False
    """May hold a password: Airflow hides it, and takes it from a command or a secrets backend too."""


OPTION_DESCRIPTIONS = (
    OptionDescription(
        "base_path",
        "string",
        ".air-executor",
        "Directory of job files, the same for scheduler, manager and command line. Give an absolute path: a relative "
        "one is taken from the scheduler's working directory. It must belong to the user that runs the scheduler. "
        "The environment variable AIR_EXECUTOR_BASE_PATH comes first.",
        "/var/lib/air-executor",
    ),
    OptionDescription(
        "autostart_manager",
        "boolean",
        "True",
        "Start a manager with the scheduler, and again when it has vanished. Turn it off where systemd or another "
        "supervisor runs the manager.",
    ),
    OptionDescription(
        "slots",
        "integer",
        "0",
        "How many task instances a manager that the scheduler starts runs at once, and as many tasks of other jobs beside "
        "them. 0 means [core] parallelism.",
    ),
    OptionDescription(
        "sync_linger",
        "float",
        "0.25",
        "After the scheduler has handed out tasks, or some have ended beside others, wait up to this many seconds for the "
        "next of them to end, so that what follows it starts at once instead of an idle second later. 0 turns it off.",
    ),
    OptionDescription(
        "warm_parent_idle",
        "float",
        "600",
        "Seconds without a task after which the process that has Airflow imported ends. The next task then waits some "
        "seconds until a new one is ready.",
    ),
    OptionDescription(
        "cancel_grace",
        "float",
        "10",
        "Seconds between SIGTERM and SIGKILL when a task is cancelled or has timed out.",
    ),
    OptionDescription(
        "keep_finished",
        "float",
        "86400",
        "Seconds for which the job directories of ended tasks are kept. Airflow's own task logs are not touched.",
    ),
    OptionDescription(
        "task_memory_limit",
        "string",
        "",
        "Memory that all processes of one task may use together, in bytes or with K, M, G or T. Empty means no limit.",
        "2G",
    ),
    OptionDescription(
        "preload",
        "boolean",
        "True",
        "Import what every task needs once, before tasks are forked.",
    ),
    OptionDescription(
        "preload_listeners",
        "boolean",
        "True",
        "Load plugins and their listeners once, before tasks are forked. Turn it off if a plugin starts threads or "
        "opens connections when it is imported.",
    ),
    OptionDescription(
        "preload_learned",
        "boolean",
        "True",
        "Learn which installed packages tasks import, and import them once, before tasks are forked, after a trial has "
        "shown that they bear it. `air-executor preload status` tells what was learned. Code of DAGs, plugins and "
        "bundles is always read fresh.",
    ),
    OptionDescription(
        "preload_allow",
        "string",
        "",
        "Modules or patterns, separated by commas: where there are any, no others are learned.",
        "pandas, numpy, google.cloud.*",
    ),
    OptionDescription(
        "preload_deny",
        "string",
        "",
        "Modules or patterns, separated by commas, that are never learned. What is said of a package goes for all "
        "modules in it.",
        "tensorflow, ddtrace",
    ),
    OptionDescription(
        "preload_memory_limit",
        "string",
        "512M",
        "Memory that all learned modules may take together, in bytes or with K, M, G or T. 0 means no limit.",
    ),
    OptionDescription(
        "dag_templates",
        "boolean",
        "False",
        "Parse each DAG file once for many of its tasks, in a process of its own from which these are then forked, as long "
        "as nothing has changed that the parse has read. `air-executor preload status` tells which files are ruled out, and "
        "why. A DAG may ask for it, or against it, by itself: "
        '`default_args={"executor_config": {"air_executor": {"dag_template": True}}}`.',
    ),
    OptionDescription(
        "dag_template_max_age",
        "float",
        "30",
        "Seconds for which the parse of a DAG file may serve its tasks. 0 turns templates off for all.",
    ),
    OptionDescription(
        "dag_template_memory_limit",
        "string",
        "256M",
        "Memory that the parse of one DAG file may take to be kept, in bytes or with K, M, G or T. 0 means no limit.",
    ),
    OptionDescription(
        "queue_environments",
        "string",
        "",
        "Run the tasks of some queues with another Python: JSON that gives the path of an interpreter by queue. Airflow "
        "and Air-Executor must be installed there. Each such environment has a warm parent of its own.",
        '{"ml": "/opt/ml/bin/python"}',
    ),
    OptionDescription(
        "immortal_objects",
        "boolean",
        "True",
        "Let forked tasks share the memory of what was loaded before: references to it are no longer counted, and it is "
        "moved into huge pages where Linux can. "
        "Only on Python 3.12 and 3.13; elsewhere nothing is changed.",
    ),
    OptionDescription(
        "prompt_exit",
        "boolean",
        "True",
        "Notice at once that a task's process has ended, where Airflow's supervisor may otherwise take up to "
        "[workers] min_heartbeat_interval seconds; and leave out the heartbeat that follows the start at once.",
    ),
    OptionDescription(
        "history",
        "boolean",
        "False",
        "Have the manager record jobs, tasks, attempts and progress in a database; see `air-executor history`. Needs the "
        "extra `history`.",
    ),
    OptionDescription(
        "history_url",
        "string",
        "",
        "SQLAlchemy URL of that database: SQLite or PostgreSQL, also that of Airflow itself, as all tables begin with "
        "air_executor_. Empty means a SQLite file in the base path.",
        "postgresql://air:secret@localhost/air_executor",
        is_sensitive=True,
    ),
)

_DEFAULTS = {option.name: option.default for option in OPTION_DESCRIPTIONS}


@dataclass(frozen=True)
class Options:
    """The options, read and checked. Times are in seconds."""

    base_path: Path
    autostart_manager: bool
    slots: int
    sync_linger_s: float
    warm_parent_idle_s: float
    cancel_grace_s: float
    keep_finished_s: float
    task_memory_limit_bytes: int | None
    preload: bool
    preload_listeners: bool
    preload_learned: bool
    preload_allow: tuple[str, ...]
    preload_deny: tuple[str, ...]
    preload_memory_limit_bytes: int | None
    dag_templates: bool
    dag_template_max_age_s: float
    dag_template_memory_limit_bytes: int | None
    queue_environments: dict[str, str]
    """Path of an interpreter by queue."""
    immortal_objects: bool
    prompt_exit: bool
    history: bool
    history_url: str

    def list_manager_settings(self, parallelism: int) -> dict[str, float | bool | str]:
        """Return what a manager is told when it is started, by field name of `ManagerSettings`.

        :param parallelism: that of Airflow.
        """
        return {
            "slots": self.slots or parallelism,
            "warm_parent_idle_s": self.warm_parent_idle_s,
            "kill_grace_s": self.cancel_grace_s,
            "keep_announced_s": self.keep_finished_s,
            **({"history": True} if self.history else {}),
            **({"history_url": self.history_url} if self.history_url else {}),
        }


def read_options(read: ReadOption, environ: dict[str, str] | Any) -> Options:
    """Read and check all options.

    :raises ConfigurationError: names the option, its value and what it may be.
    """
    return Options(
        base_path=read_base_path(read, environ),
        autostart_manager=_parse_boolean(read, "autostart_manager"),
        slots=int(_parse_number(read, "slots")),
        sync_linger_s=_parse_number(read, "sync_linger"),
        warm_parent_idle_s=_parse_number(read, "warm_parent_idle"),
        cancel_grace_s=_parse_number(read, "cancel_grace"),
        keep_finished_s=_parse_number(read, "keep_finished"),
        task_memory_limit_bytes=_parse_size(read, "task_memory_limit"),
        preload=_parse_boolean(read, "preload"),
        preload_listeners=_parse_boolean(read, "preload_listeners"),
        preload_learned=_parse_boolean(read, "preload_learned"),
        preload_allow=_parse_modules(read, "preload_allow"),
        preload_deny=_parse_modules(read, "preload_deny"),
        preload_memory_limit_bytes=_parse_size(read, "preload_memory_limit"),
        dag_templates=_parse_boolean(read, "dag_templates"),
        dag_template_max_age_s=_parse_number(read, "dag_template_max_age"),
        dag_template_memory_limit_bytes=_parse_size(read, "dag_template_memory_limit"),
        queue_environments=_parse_environments(read, "queue_environments"),
        immortal_objects=_parse_boolean(read, "immortal_objects"),
        prompt_exit=_parse_boolean(read, "prompt_exit"),
        history=_parse_boolean(read, "history"),
        history_url=_read(read, "history_url"),
    )


def read_base_path(read: ReadOption, environ: dict[str, str] | Any) -> Path:
    """Return the root's absolute path."""
    return Path(environ.get("AIR_EXECUTOR_BASE_PATH") or _read(read, "base_path")).expanduser().absolute()


def _read(read: ReadOption, name: str) -> str:
    text = read(SECTION, name)
    return _DEFAULTS[name] if text is None or not str(text).strip() else str(text).strip()


def _parse_boolean(read: ReadOption, name: str) -> bool:
    text = _read(read, name).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ConfigurationError(f"[{SECTION}] {name} = {text!r}: use True or False")


def _parse_number(read: ReadOption, name: str) -> float:
    text = _read(read, name)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigurationError(f"[{SECTION}] {name} = {text!r}: use a number that is not negative")
    return number


def _parse_modules(read: ReadOption, name: str) -> tuple[str, ...]:
    words = tuple(_read(read, name).replace(",", " ").split())
    for word in words:
        if not _MODULE_PATTERN.fullmatch(word):
            raise ConfigurationError(
                f"[{SECTION}] {name}: {word!r} is no name or pattern of modules; use such as pandas or google.cloud.*"
            )
    return words


def _parse_environments(read: ReadOption, name: str) -> dict[str, str]:
    text = _read(read, name)
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(python, str) for python in found.values()):
        raise ConfigurationError(
            f'[{SECTION}] {name} = {text[:200]!r}: use JSON of queue and interpreter, as {{"ml": "/opt/ml/bin/python"}}'
        )
    for queue, python in found.items():
        if not os.path.isabs(python) or not python.isprintable():
            raise ConfigurationError(
                f"[{SECTION}] {name}: queue {queue!r} needs the absolute path of an interpreter, not {python!r}"
            )
    return found


def _parse_size(read: ReadOption, name: str) -> int | None:
    text = _read(read, name).upper().removesuffix("B")
    if not text or text == "0":
        return None
    digits, unit = (text[:-1], text[-1]) if text[-1] in _SIZE_UNITS else (text, "")
    try:
        size_bytes = int(float(digits) * _SIZE_UNITS[unit])
    except (ValueError, OverflowError):
        size_bytes = 0
    if size_bytes <= 0:
        raise ConfigurationError(f"[{SECTION}] {name} = {text!r}: use a size such as 512M or 2G, or leave it empty")
    return size_bytes
