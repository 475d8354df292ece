"""Snapshots of an interpreter, its variables and working directory, by digest: many jobs share one file.

Variables may hold secrets: the files have mode 0600, and nothing of them enters a job's directory, a log or a command line.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import msgspec

from air_executor.core.names import is_plain_name
from air_executor.errors import DamagedFileError
from air_executor.store.files import create_file, decode_json, read_bytes, temporary_name
from air_executor.store.root import Root


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What a fork server, and so its tasks, start with."""

    python: str
    """Absolute path of the interpreter, for a warm parent."""
    variables: dict[str, str]
    cwd: str


def save_environment(root: Root, python: str, variables: Mapping[str, str], cwd: str) -> str:
    """Keep an environment and return its digest; the same environment gives the same digest.

    :raises OSError: it could not be written.
    """
    snapshot = Environment(python=python, variables=dict(sorted(variables.items())), cwd=cwd)
    content = msgspec.json.encode(snapshot)
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = root.environments / f"{digest}.json"
    if not os.path.lexists(path):
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
    return decode_json(content, Environment, path)
