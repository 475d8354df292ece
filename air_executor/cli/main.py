"""`air-executor`: the entry point. Commands are imported when they are called: starting must take a blink."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from air_executor.cli import exit_codes


class _Entry(NamedTuple):
    module: str
    help: str


_SECTIONS: dict[str, dict[str, _Entry]] = {
    "Work": {
        "run": _Entry("run", "Submit a job, show its progress, exit with its status."),
        "submit": _Entry("submit", "Submit a job and return at once."),
        "queue": _Entry("queue", "Add tasks to a job that is not over."),
        "close": _Entry("queue", "Let an open job finish."),
        "cancel": _Entry("cancel", "End jobs and every process of them."),
        "retry": _Entry("retry", "Run failed tasks again."),
        "wait": _Entry("wait", "Wait until jobs are over."),
    },
    "Look": {
        "status": _Entry("status", "Show the manager and the jobs, or one job."),
        "jobs": _Entry("jobs", "List jobs."),
        "tasks": _Entry("tasks", "List the tasks of a job."),
        "logs": _Entry("logs", "Show the output of tasks."),
        "results": _Entry("results", "Show what tasks left as results."),
        "history": _Entry("history", "Show what happened, also to jobs that are gone."),
        "chart": _Entry("chart", "Draw how a job went, as a picture."),
        "explain": _Entry("explain", "Say why a task has not run, or how it ended."),
        "serve": _Entry("serve", "Answer over HTTP what the jobs do."),
    },
    "Care": {
        "manager": _Entry("manager", "Run, start, stop the process that runs tasks."),
        "prune": _Entry("prune", "Remove jobs that are over."),
        "preload": _Entry("preload", "What tasks of Airflow import, and what is loaded ahead of them."),
        "doctor": _Entry("doctor", "Check this machine and base path."),
        "completion": _Entry("completion", "Print the completion script for a shell."),
    },
}
_COMPLETE_VARIABLE = "_AIR_EXECUTOR_COMPLETE"
_COMMANDS = {name: entry for section in _SECTIONS.values() for name, entry in section.items()}


class _Commands(click.Group):
    """Knows its commands by name and help; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(f"air_executor.cli.{entry.module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # click's signature
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in commands.items()])


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from air_executor import __version__

        click.echo(f"air-executor {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--base-path", metavar="DIR", help="Directory that holds jobs and manager; also an option of each command."
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def commands(base_path: str | None) -> None:  # the commands find it in the context
    """Run durable jobs of ephemeral tasks on this machine, with Airflow or without."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; errors are one line on standard error."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    from air_executor.errors import AirExecutorError

    try:
        code = commands.main(
            None if arguments is None else list(arguments),
            prog_name="air-executor",
            standalone_mode=False,
            complete_var=_COMPLETE_VARIABLE,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else exit_codes.DONE
    except click.UsageError as error:
        return _tell_usage(error)
    except click.ClickException as error:
        return _tell(error.format_message(), error.exit_code)
    except AirExecutorError as error:
        return _tell(str(error), _code_of(error))
    except (KeyboardInterrupt, click.Abort):
        return exit_codes.INTERRUPTED
    except SystemExit:
        if _COMPLETE_VARIABLE in os.environ:
            raise
        # click leaves so when the reader of a pipe has gone.
        return exit_codes.DONE
    except BrokenPipeError:
        # The reader of a pipe has seen enough. What is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _tell(f"{where}{error.strerror or error}", exit_codes.IMPOSSIBLE)


def _code_of(error: Exception) -> int:
    from air_executor.errors import InvalidJobError, InvalidNameError, JobNotFoundError, ManagerNotRunningError

    if isinstance(error, (InvalidJobError, InvalidNameError)):
        return exit_codes.USAGE
    if isinstance(error, JobNotFoundError):
        return exit_codes.NOT_FOUND
    return exit_codes.FAILED if isinstance(error, ManagerNotRunningError) else exit_codes.IMPOSSIBLE


def _tell_usage(error: click.UsageError) -> int:
    # By name: click 8.1 does not have it.
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return exit_codes.USAGE
    path = error.ctx.command_path if error.ctx is not None else "air-executor"
    message = error.format_message().rstrip(".")
    return _tell(f"{message}  (try `{path} --help`)", error.exit_code)


def _tell(message: str, code: int) -> int:
    try:
        click.echo(f"air-executor: {message}", err=True)
    except OSError:
        # Nobody hears; the code says it.
        pass
    return code


if __name__ == "__main__":
    main()
