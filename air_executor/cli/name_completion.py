"""What a shell offers where a job or a task is expected. Never raises: a shell shows errors in the middle of a line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from air_executor.config import find_base_path
from air_executor.errors import AirExecutorError

_MOST = 200


def complete_jobs(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return names of jobs, newest first, with their state; then the words that select jobs."""
    from air_executor.cli.selection import WORDS

    items: list[CompletionItem] = []
    base_path = _base_path(ctx)
    if base_path is not None:
        from air_executor.client import AirExecutorClient

        with contextlib.suppress(AirExecutorError, OSError):
            jobs = AirExecutorClient(base_path).jobs()
            items = [CompletionItem(job.name, help=job.state.value) for job in jobs if job.name.startswith(incomplete)]
    words = [CompletionItem(word, help=text) for word, text in WORDS.items() if word.startswith(incomplete)]
    return items[:_MOST] + words


def complete_tasks(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return ids of tasks of the job that the command line names, else of the newest."""
    from air_executor.cli.selection import resolve_job
    from air_executor.client import AirExecutorClient

    base_path = _base_path(ctx)
    if base_path is None:
        return []
    given = ctx.params.get("job") or (ctx.params.get("words") or (None,))[0]
    with contextlib.suppress(AirExecutorError, OSError):
        client = AirExecutorClient(base_path)
        tasks = client.tasks(resolve_job(client, given))
        return [CompletionItem(task.id, help=task.status.value) for task in tasks if task.id.startswith(incomplete)][
            :_MOST
        ]
    return []


def _base_path(ctx: click.Context) -> Path | None:
    given = ctx.params.get("base_path") or ctx.find_root().params.get("base_path")
    path = find_base_path(given)
    # Completing a word must not create a base path.
    return path if path.is_dir() else None
