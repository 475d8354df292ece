"""`air-executor chart`: how a job went, as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from air_executor.cli.options import JobName, base_path_option, open_client
from air_executor.cli.output import print_json


@click.command()
@base_path_option
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .png or .svg file; one that exists is replaced.  [default: JOB-progress.png]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the path as JSON.")
@click.argument("job", required=False, type=JobName())
def chart(base_path: Path, output: Path | None, as_json: bool, job: str | None) -> None:
    """Draw the tasks of JOB over time, by default of the last job: total, completed, failed, running.

    The picture is exact for the whole course of the job, whenever it is drawn, and also while the job runs. It needs
    matplotlib: pip install 'air-executor[plot]'.
    """
    from air_executor.chart import check_format, save_chart
    from air_executor.cli.selection import resolve_job
    from air_executor.errors import ChartError

    if output is not None:
        try:
            check_format(output)
        except ChartError as error:
            raise click.BadParameter(str(error), param_hint="--output") from error
    client = open_client(base_path)
    path = save_chart(client, resolve_job(client, job), output)
    if as_json:
        print_json({"path": str(path)})
    else:
        click.echo(path)
