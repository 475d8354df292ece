"""Where tasks come from: a command, lines of a file, JSON lines, a JSON document. Errors name file, line and field."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from air_executor.core.names import make_safe
from air_executor.core.specs import JobOptions, TaskSpec
from air_executor.errors import InvalidJobError
from air_executor.store.records import SubmittedTask, spec_of

STANDARD_INPUT = "-"
PLACEHOLDER = "{}"
_FILE_SUFFIXES = (".json", ".jsonl", ".ndjson")
_LINE_SUFFIXES = (".jsonl", ".ndjson")
_TASK_FIELDS = frozenset(SubmittedTask.__struct_fields__)
_JOB_FIELDS = frozenset({"name", "tasks", "options", "labels"})

Fields = Mapping[str, Any]


class JobInput(NamedTuple):
    """What a file asks for."""

    tasks: tuple[TaskSpec, ...]
    name: str | None = None
    options: JobOptions = JobOptions()
    labels: Mapping[str, str] = MappingProxyType({})


def is_job_file(words: tuple[str, ...]) -> bool:
    """Claim that the words of a command line, given without `--`, name a file of tasks and not a command."""
    return len(words) == 1 and (words[0] == STANDARD_INPUT or words[0].endswith(_FILE_SUFFIXES))


def tasks_from_command(words: tuple[str, ...], fields: Fields) -> tuple[TaskSpec, ...]:
    """Return the one task that runs a command."""
    return (_task({"command": words[0], "args": words[1:]}, fields, 1, "command"),)


def tasks_from_lines(words: tuple[str, ...], source: str, fields: Fields) -> tuple[TaskSpec, ...]:
    """Return a task for each line that is not empty: `{}` in the command stands for it, or it is the last argument."""
    tasks: list[TaskSpec] = []
    has_placeholder = any(PLACEHOLDER in word for word in words)
    for number, line in _lines(source):
        filled = tuple(word.replace(PLACEHOLDER, line) for word in words) if has_placeholder else (*words, line)
        entry = {"command": filled[0], "args": filled[1:]}
        tasks.append(_task(entry, fields, len(tasks) + 1, f"{_shown(source)}: line {number}"))
    if not tasks:
        raise InvalidJobError(f"{_shown(source)}: holds no line, so there is nothing to run")
    return tuple(tasks)


def read_job(source: str, fields: Fields) -> JobInput:
    """Return the job in a file, or on standard input for `-`.

    A document is a list of tasks, or an object with `tasks` and perhaps `name`, `options`, `labels`. Else each line is
    a task: an object with the fields of tasks.json, or a list of the words of a command.

    :param fields: of tasks that do not say otherwise.
    :raises InvalidJobError: it is none of these, or holds no task.
    """
    content = _read(source)
    document = None if source.endswith(_LINE_SUFFIXES) else _document(content)
    if document is None:
        job = JobInput(tuple(_tasks_of_lines(content, source, fields)))
    elif isinstance(document, list):
        job = JobInput(_tasks_of_list(document, source, fields))
    else:
        job = _job_of_object(document, source, fields)
    if not job.tasks:
        raise InvalidJobError(f"{_shown(source)}: holds no task, so there is nothing to run")
    return job


def default_name(words: tuple[str, ...], source: str | None) -> str:
    """Return the readable part of a job's name: of its command, else of its file."""
    if words:
        return make_safe(Path(words[0]).name, 60).strip(".-") or "job"
    stem = "" if source in (None, STANDARD_INPUT) else Path(str(source)).stem
    return make_safe(stem, 60).strip(".-") or "job"


def with_own_ids(tasks: Iterable[TaskSpec]) -> tuple[TaskSpec, ...]:
    """Give tasks without an id of their own one that is made from what they run, and where.

    A task that queues the same again, as when it is retried, so adds nothing.
    """
    return tuple(
        msgspec.structs.replace(task, id=_digest_id(task)) if task.id.startswith(_NO_ID) else task for task in tasks
    )


_NO_ID = "\0"
WITHOUT_ID: dict[str, Any] = {"id": _NO_ID}
"""Fields for tasks that get their id from `with_own_ids`; no task may have this one."""


def _digest_id(task: TaskSpec) -> str:
    content = msgspec.json.encode((task.command, task.args, task.cwd, sorted(task.env.items())))
    return f"{make_safe(Path(task.command).name, 60) or 'task'}-{hashlib.sha256(content).hexdigest()[:12]}"


def _read(source: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == STANDARD_INPUT else Path(source).read_bytes()
    except OSError as error:
        raise InvalidJobError(f"{source}: cannot be read ({error.strerror})") from error


def _lines(source: str) -> Iterator[tuple[int, str]]:
    # Bytes that are no text stand for themselves, as in file names.
    text = os.fsdecode(_read(source))
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _document(content: bytes) -> list[Any] | dict[str, Any] | None:
    """Return the JSON document, None if it rather is lines."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(document, dict) and "tasks" in document:
        return document
    if isinstance(document, list) and all(isinstance(entry, dict) for entry in document):
        return document
    return None


def _tasks_of_lines(content: bytes, source: str, fields: Fields) -> Iterator[TaskSpec]:
    position = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        position += 1
        where = f"{_shown(source)}: line {number}"
        try:
            entry = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidJobError(
                f"{where}: is not JSON ({error}); write a task as "
                '{"command": "make", "args": ["all"]} or ["make", "all"]'
            ) from None
        if isinstance(entry, list) and entry and all(isinstance(word, str) for word in entry):
            entry = {"command": entry[0], "args": entry[1:]}
        yield _task(entry, fields, position, where)


def _tasks_of_list(entries: list[Any], source: str, fields: Fields) -> tuple[TaskSpec, ...]:
    return tuple(
        _task(entry, fields, position, f"{_shown(source)}: task {position}")
        for position, entry in enumerate(entries, start=1)
    )


def _job_of_object(document: dict[str, Any], source: str, fields: Fields) -> JobInput:
    where = _shown(source)
    unknown = document.keys() - _JOB_FIELDS
    if unknown:
        raise InvalidJobError(
            f"{where}: unknown field {sorted(unknown)[0]!r}; a job has {', '.join(sorted(_JOB_FIELDS))}"
        )
    if not isinstance(document["tasks"], list):
        raise InvalidJobError(f"{where}: `tasks` must be a list")
    try:
        options = msgspec.convert(document.get("options", {}), JobOptions)
        labels = msgspec.convert(document.get("labels", {}), dict[str, str])
        name = msgspec.convert(document.get("name"), str | None)
    except msgspec.ValidationError as error:
        raise InvalidJobError(f"{where}: {error}; correct that field") from None
    return JobInput(_tasks_of_list(document["tasks"], source, fields), name, options, labels)


def _task(entry: Any, fields: Fields, position: int, where: str) -> TaskSpec:
    if not isinstance(entry, dict):
        raise InvalidJobError(f"{where}: must be an object with a `command`, or a list of words")
    unknown = entry.keys() - _TASK_FIELDS
    if unknown:
        raise InvalidJobError(
            f"{where}: unknown field {sorted(unknown)[0]!r}; the fields of a task are in docs/file-format.md"
        )
    merged = {**fields, **entry}
    if isinstance(entry.get("env"), dict):
        merged["env"] = {**fields.get("env", {}), **entry["env"]}
    if isinstance(merged.get("cwd"), str):
        merged["cwd"] = os.path.abspath(os.path.expanduser(merged["cwd"]))
    if merged.get("id") == _NO_ID:
        # Unique until it gets its own.
        merged["id"] = f"{_NO_ID}{position}"
    try:
        return spec_of(msgspec.convert(merged, SubmittedTask), position)
    except msgspec.ValidationError as error:
        raise InvalidJobError(f"{where}: {error}; correct that field") from None


def _shown(source: str) -> str:
    return "standard input" if source == STANDARD_INPUT else source
