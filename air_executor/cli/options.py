"""Options and types of parameters that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from air_executor.config import find_base_path
from air_executor.core.quantities import parse_duration_s, parse_size_bytes

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from air_executor.client import AirExecutorClient

    _ParamType = click.ParamType[Any]
else:
    # Older ones take no parameter.
    _ParamType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])


class Duration(_ParamType):
    """Seconds, or a number with a unit, as `90`, `5m`, `1h30m`."""

    name = "duration"

    def __init__(self, *, may_be_zero: bool = True) -> None:
        self._may_be_zero = may_be_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        try:
            seconds = parse_duration_s(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds == 0 and not self._may_be_zero:
            self.fail("must be more than 0", param, ctx)
        return seconds


class Size(_ParamType):
    """Bytes, or a number with a unit, as `512M`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        try:
            size_bytes = parse_size_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size_bytes == 0:
            self.fail("must be more than 0", param, ctx)
        return size_bytes


class JobName(_ParamType):
    """The name of a job, or what selects some; a shell completes it."""

    name = "job"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 # click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the jobs whose name begins so."""
        from air_executor.cli.name_completion import complete_jobs

        return complete_jobs(ctx, incomplete)


class TaskId(_ParamType):
    """The id of a task; a shell completes it when the job is known."""

    name = "task"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 # click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the tasks whose id begins so."""
        from air_executor.cli.name_completion import complete_tasks

        return complete_tasks(ctx, incomplete)


def _found(ctx: click.Context, __: click.Parameter, value: str | None) -> Path:
    # `air-executor --base-path DIR status` says the same as `air-executor status --base-path DIR`; so of commands in groups.
    given = value or ctx.meta.get(_GIVEN) or ctx.find_root().params.get("base_path")
    ctx.meta[_GIVEN] = given
    return find_base_path(given)


_GIVEN = "air_executor.base_path"

base_path_option = click.option(
    "--base-path",
    metavar="DIR",
    callback=_found,
    type=click.Path(file_okay=False),
    help="Directory that holds jobs and manager. "
    "Default: $AIR_EXECUTOR_BASE_PATH, else [air_executor] base_path of airflow.cfg, else .air-executor.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def jobs_argument(*, required: bool = False) -> Callable[[F], F]:
    """Return the argument for any number of jobs; `selection` says what it takes."""
    return click.argument(
        "selectors", metavar="[JOB]..." if not required else "JOB...", nargs=-1, required=required, type=JobName()
    )


def command_line(*words: str) -> str:
    """Return a command that somebody can copy, for the base path of the command that runs."""
    import shlex

    ctx = click.get_current_context(silent=True)
    given = ctx.meta.get(_GIVEN) if ctx is not None else None
    where = ("--base-path", str(given)) if given else ()
    return shlex.join(("air-executor", words[0], *where, *words[1:]))


def open_client(base_path: Path, *, create: bool = False) -> AirExecutorClient:
    """Return a client of this base path; one that only looks creates nothing.

    :raises RootError: it cannot be used, or does not exist and `create` is false.
    """
    from air_executor.client import AirExecutorClient
    from air_executor.errors import RootError

    if not create and not base_path.exists():
        raise RootError(
            f"{base_path}: does not exist, so there are no jobs; go to the directory where you submitted them, "
            "or name the base path with --base-path"
        )
    return AirExecutorClient(base_path)
