"""What `run`, `submit` and `queue` share: options of jobs and tasks, the caller's environment, the manager that must run."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from air_executor.cli.options import Duration, Size, command_line
from air_executor.cli.output import note
from air_executor.config import ATTEMPT_VARIABLES

if TYPE_CHECKING:
    from air_executor.cli.task_sources import JobInput
    from air_executor.client import AirExecutorClient
    from air_executor.core.specs import JobOptions, TaskSpec

F = TypeVar("F", bound=Callable[..., Any])

LITERAL = "air_executor.literal_command"
"""Key in `Context.meta`: the words came after `--`, so they are a command whatever they look like."""

_DEFAULT_SLOTS = 32
# Set anew in every task, or by every shell: they would give each submission an environment of its own.
_NOT_PASSED_ON = ATTEMPT_VARIABLES | {"_", "OLDPWD", "SHLVL"}


class WordsCommand(click.Command):
    """A command whose arguments are another command: its options are left alone, and `--` is noticed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_interspersed_args = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether the words came after `--`."""
        from air_executor.cli.task_sources import is_job_file

        # Looked at first by a parser of its own, which changes nothing in the context.
        words = [] if ctx.resilient_parsing else self._words_of(ctx, args)
        position = len(args) - len(words)
        ctx.meta[LITERAL] = position > 0 and args[position - 1] == "--"
        if len(words) > 1 and not ctx.meta[LITERAL] and is_job_file((words[0],)):
            # `run jobs.jsonl --quiet`: what follows a file are options.
            args = [*args[:position], *words[1:], words[0]]
            if len(self._words_of(ctx, args)) > 1:
                ctx.fail(f"{words[0]} is a file of tasks and takes no arguments; a command is given after --")
        return super().parse_args(ctx, args)

    def _words_of(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        words = values.get("words")
        # Without any it is None, or a mark of click's.
        return list(words) if isinstance(words, (list, tuple)) else []

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tell the ways to say what is to be run."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] FILE.jsonl | - | -- COMMAND [ARG]...")


words_argument = click.argument("words", nargs=-1, type=click.UNPROCESSED)

each_line_option = click.option(
    "--each-line",
    metavar="FILE",
    help="A task for each line of FILE (- is standard input): {} in the command stands for the line, "
    "else it is the last argument.",
)


def task_options(command: F) -> F:
    """Add the options of tasks; `task_fields` turns them into fields of `TaskSpec`."""
    options = (
        click.option("--retries", type=click.IntRange(0), metavar="N", help="Start a failed task anew up to N times."),
        click.option("--retry-delay", "retry_delay_s", type=Duration(), help="Pause before the first retry."),
        click.option(
            "--retry-backoff", type=click.FloatRange(1, 1000), metavar="X", help="Each further pause is X times longer."
        ),
        click.option(
            "--timeout", "timeout_s", type=Duration(may_be_zero=False), help="End an attempt after this long."
        ),
        click.option(
            "--memory-limit", "memory_limit_bytes", type=Size(), help="End an attempt that uses more, as 512M."
        ),
        click.option("--cwd", metavar="DIR", type=click.Path(file_okay=False), help="Run in DIR.  [default: here]"),
        click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="Set a variable; tasks.json shows it."),
        click.option("--keep-processes", is_flag=True, default=None, help="Leave running what a task leaves running."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def job_options(command: F) -> F:
    """Add the options of jobs; `options_of` turns them into `JobOptions`."""
    options = (
        click.option("--name", metavar="JOB", help="Name of the job.  [default: made from the command]"),
        click.option("-j", "--max-parallel", type=click.IntRange(1), metavar="N", help="Run at most N tasks at once."),
        click.option("--priority", type=int, metavar="N", help="Jobs of higher priority get free slots first."),
        click.option("--fail-fast", is_flag=True, default=None, help="Cancel the rest at the first failure."),
        click.option(
            "--tolerate",
            "tolerated_failures",
            type=click.IntRange(0),
            metavar="N",
            help="Complete with N failed tasks.",
        ),
        click.option("--manager/--no-manager", "with_manager", default=True, help="Start a manager if none runs."),
    )
    for option in reversed(options):
        command = option(command)
    return command


JOB_FIELDS = ("max_parallel", "priority", "fail_fast", "tolerated_failures")


def task_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return fields of `TaskSpec` from the options of `task_options`, only those that were given."""
    names = ("retries", "retry_delay_s", "retry_backoff", "timeout_s", "memory_limit_bytes", "cwd", "keep_processes")
    fields = {name: given[name] for name in names if given.get(name) is not None}
    if given.get("env"):
        fields["env"] = dict(_variable(text) for text in given["env"])
    if "cwd" in fields and not os.path.isdir(fields["cwd"]):
        raise click.BadParameter(f"there is no directory {fields['cwd']}", param_hint="--cwd")
    return fields


def options_of(given: dict[str, Any], written: JobOptions) -> JobOptions:
    """Return the options of a job: the command line wins over what its file says."""
    changes = {name: given[name] for name in JOB_FIELDS if given.get(name) is not None}
    return msgspec.structs.replace(written, **changes)


def read_input(words: tuple[str, ...], each_line: str | None, fields: dict[str, Any]) -> JobInput:
    """Return what the command line asks for: a command, a command for each line, a file, or standard input.

    :raises click.UsageError: it does not say what to run.
    :raises InvalidJobError: what it names cannot be used.
    """
    from air_executor.cli import task_sources

    is_literal = click.get_current_context().meta[LITERAL]
    if each_line is not None:
        if not words:
            raise click.UsageError("--each-line needs a command, as in: --each-line FILE -- gzip {}")
        return task_sources.JobInput(task_sources.tasks_from_lines(words, each_line, fields))
    if not is_literal and task_sources.is_job_file(words):
        return task_sources.read_job(words[0], fields)
    if words:
        return task_sources.JobInput(task_sources.tasks_from_command(words, fields))
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("what is to be run? Give a command after --, or a file of tasks (.jsonl, .json, or -)")
    return task_sources.read_job(task_sources.STANDARD_INPUT, fields)


def submit_input(
    client: AirExecutorClient, words: tuple[str, ...], each_line: str | None, given: dict[str, Any], *, is_open: bool
) -> tuple[str, int]:
    """Submit what the command line asks for; return the job's name and its number of tasks."""
    from air_executor.cli.task_sources import JobInput, default_name, is_job_file
    from air_executor.core.specs import JobSpec

    # An open job may begin with nothing.
    asked = JobInput(()) if is_open and not words else read_input(words, each_line, task_fields(given))
    options = options_of(given, asked.options)
    if is_open:
        options = msgspec.structs.replace(options, is_open=True)
    if options.environment is None:
        options = msgspec.structs.replace(options, environment=save_caller(client))
    name = given.get("name") or asked.name
    is_file = not click.get_current_context().meta[LITERAL] and is_job_file(words)
    readable = default_name(() if is_file else words, words[0] if is_file else None)
    spec = JobSpec(name=name or "", tasks=asked.tasks, options=options, labels=dict(asked.labels))
    return _submit(client, spec, readable), len(asked.tasks)


def save_caller(client: AirExecutorClient) -> str:
    """Keep variables, working directory and interpreter of this process for a job, and return their digest."""
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    return client.save_environment(sys.executable, variables, os.getcwd())


def need_manager(client: AirExecutorClient, *, max_parallel: int | None = None, job_name: str) -> None:
    """Start a manager if none runs, and say so."""
    from air_executor.errors import RootError

    if client.manager_is_running():
        return
    settings = {} if (max_parallel or 0) <= _DEFAULT_SLOTS else {"slots": max_parallel or 0}
    try:
        pid = client.start_manager(**settings)
    except RootError as error:
        raise RootError(f"job {job_name} is submitted and waits, but {error}") from error
    note(f"started a manager (pid {pid}) on {client.base_path}; `{command_line('manager', 'stop')}` stops it")


def _submit(client: AirExecutorClient, spec: Any, readable: str) -> str:
    from air_executor.errors import JobExistsError

    if spec.name:
        return client.submit(spec)
    while True:
        try:
            return client.submit(msgspec.structs.replace(spec, name=f"{readable}-{secrets.token_hex(3)}"))
        except JobExistsError:
            # Chance gave a name that is taken.
            continue


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--env")
    return name, value


def ids_of(tasks: Sequence[TaskSpec]) -> list[str]:
    """Return the ids of tasks."""
    return [task.id for task in tasks]
