"""`air-executor`: the entry point and what all its commands share."""

from __future__ import annotations

import sys
from typing import Any

import click

from air_executor.cli.manager import manager
from air_executor.cli.status import status
from air_executor.cli.submit import cancel, submit
from air_executor.errors import AirExecutorError


class _Group(click.Group):
    """Turns our errors into one line and exit code 1; click's own usage errors keep exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AirExecutorError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            # The reader of a pipe has seen enough.
            sys.stderr.close()
            ctx.exit(0)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="air-executor")
def main() -> None:
    """Run durable jobs of ephemeral tasks on this machine, with Airflow or without."""


main.add_command(manager)
main.add_command(status)
main.add_command(submit)
main.add_command(cancel)

if __name__ == "__main__":
    main()
