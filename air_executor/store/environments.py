"""Snapshots of an interpreter, its variables and working directory, by digest: many jobs share one file.

Variables may hold secrets: the files have mode 0600, and nothing of them enters a job's directory, a log or a command line.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Container, Mapping

import msgspec

from air_executor.config import SECRET_VARIABLES
from air_executor.core.names import is_plain_name
from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes, temporary_name
from air_executor.store.root import Root


class Environment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fork server, and so its tasks, start with."""

    python: str
    """Absolute path of the interpreter, for a warm parent."""
    variables: dict[str, str]
    cwd: str
    byte_variables: dict[str, bytes] = {}
    """Those that are not UTF-8; in the file in Base64. Only there: `load_environment` puts them among the others."""


def save_environment(root: Root, python: str, variables: Mapping[str, str], cwd: str) -> str:
    """Keep an environment and return its digest; the same environment gives the same digest.

    :raises OSError: it could not be written.
    """
    passed_on = {name: value for name, value in sorted(variables.items()) if name not in SECRET_VARIABLES}
    byte_variables = {name: os.fsencode(value) for name, value in passed_on.items() if not _is_unicode(value)}
    text_variables = {name: value for name, value in passed_on.items() if name not in byte_variables}
    snapshot = Environment(python=python, variables=text_variables, cwd=cwd, byte_variables=byte_variables)
    content = msgspec.json.encode(snapshot)
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = root.environments / f"{digest}.json"
    if os.path.lexists(path):
        # Its age is that of its last use.
        os.utime(path)
    else:
        aside = root.tmp / temporary_name(digest)
        create_file(aside, content, durable=True)
        os.rename(aside, path)
    return digest


def load_environment(root: Root, digest: str) -> Environment:
    """Return the environment of a digest.

    :raises DamagedFileError: there is none, or it is damaged.
    """
    path = root.environments / f"{digest}.json"
    if not is_plain_name(digest):
        raise DamagedFileError(f"environment {digest[:60]!r} is not a digest; submit the job again")
    try:
        content, _ = read_bytes(path)
    except FileNotFoundError:
        raise DamagedFileError(f"{path}: does not exist; submit the job again") from None
    found = decode_json(content, Environment, path)
    decoded = {name: os.fsdecode(value) for name, value in found.byte_variables.items()}
    return Environment(python=found.python, variables={**found.variables, **decoded}, cwd=found.cwd)


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def remove_old_environments(root: Root, used: Container[str], age_s: float) -> None:
    """Remove the environments that nobody has saved again for `age_s` seconds and that are not in use."""
    with os.scandir(root.environments) as entries:
        old = [
            entry
            for entry in entries
            if entry.name.removesuffix(".json") not in used
            and time.time() - entry.stat(follow_symlinks=False).st_mtime > age_s
        ]
    for entry in old:
        with contextlib.suppress(OSError):
            os.unlink(entry.path)
