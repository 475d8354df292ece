"""Which jobs a word on the command line means: a name, a glob, or `last`, `failed` and the like."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence

from air_executor.client import AirExecutorClient, JobView
from air_executor.core.names import is_plain_name
from air_executor.core.states import JobState
from air_executor.errors import JobNotFoundError

JOB_VARIABLE = "AIR_EXECUTOR_JOB"

WORDS = {
    "last": "the job submitted last",
    "all": "every job",
    "unfinished": "jobs that are not over",
    **{state.value: f"jobs that are {state.value}" for state in JobState},
}
"""What selects jobs by something else than their name; a job of that very name comes first."""


def resolve_job(client: AirExecutorClient, word: str | None) -> str:
    """Return the one job that is meant; None means the one we run in, else the last.

    :raises JobNotFoundError: there is none, or more than one.
    """
    names = resolve_jobs(client, (word or os.environ.get(JOB_VARIABLE) or "last",))
    if len(names) > 1:
        raise JobNotFoundError(f"{word} means {len(names)} jobs ({_some(names)}): name one")
    return names[0]


def resolve_jobs(client: AirExecutorClient, words: Sequence[str]) -> list[str]:
    """Return the names of all jobs that are meant, each once.

    :raises JobNotFoundError: a word means no job.
    """
    names: dict[str, None] = {}
    for word in words:
        names.update(dict.fromkeys(_resolve(client, word)))
    return list(names)


def is_selector(word: str) -> bool:
    """Claim that a word may mean any number of jobs, and so also none."""
    return word in WORDS or any(char in word for char in "*?[")


def select(jobs: Sequence[JobView], word: str) -> list[JobView]:
    """Return those jobs that a word means, in their order."""
    named = [job for job in jobs if job.name == word]
    if named or not is_selector(word):
        return named
    if word == "all":
        return list(jobs)
    if word == "last":
        return [max(jobs, key=lambda job: job.created_at)] if jobs else []
    if word == "unfinished":
        return [job for job in jobs if not job.state.is_terminal]
    if word in WORDS:
        return [job for job in jobs if job.state.value == word]
    return [job for job in jobs if fnmatch.fnmatchcase(job.name, word)]


def _resolve(client: AirExecutorClient, word: str) -> list[str]:
    if not is_selector(word) or (word in WORDS and client.job_path(word).is_dir()):
        _check_exists(client, word)
        return [word]
    names = [job.name for job in select(client.jobs(), word)]
    if not names:
        what = f"no job {word!r} matches" if word not in WORDS else f"no job matches `{word}`"
        raise JobNotFoundError(f"{what} under {client.base_path}: `air-executor jobs` lists them")
    return names


def _check_exists(client: AirExecutorClient, name: str) -> None:
    if is_plain_name(name) and os.path.lexists(client.job_path(name)):
        return
    import difflib

    close = difflib.get_close_matches(name, client.job_names(), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`air-executor jobs` lists them"
    raise JobNotFoundError(f"there is no job {name} under {client.base_path}: {hint}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
