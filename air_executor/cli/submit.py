"""`air-executor submit` and `cancel`."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import click

from air_executor.cli.options import base_path_option
from air_executor.client import AirExecutorClient
from air_executor.core.names import make_safe
from air_executor.core.specs import JobOptions, JobSpec, TaskSpec


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@base_path_option
@click.option("--name", help="Name of the job; by default one is made from the command.")
@click.option("--retries", type=click.IntRange(0), default=0, help="How often a failed attempt is followed by another.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), help="Seconds that one attempt may take."
)
@click.argument("command", nargs=-1, required=True)
def submit(base_path: Path, name: str | None, retries: int, timeout_s: float | None, command: tuple[str, ...]) -> None:
    """Submit COMMAND as a job of one task and print the job's name. It runs in this directory, with these variables."""
    client = AirExecutorClient(base_path)
    environment = client.save_environment(sys.executable, os.environ, os.getcwd())
    task = TaskSpec(id="task-1", command=command[0], args=command[1:], retries=retries, timeout_s=timeout_s)
    job_name = name or f"{make_safe(Path(command[0]).name, 60) or 'job'}-{secrets.token_hex(4)}"
    click.echo(client.submit(JobSpec(name=job_name, tasks=(task,), options=JobOptions(environment=environment))))


@click.command()
@base_path_option
@click.option("--reason", default="", help="Why; it is kept with the job.")
@click.argument("job")
def cancel(base_path: Path, reason: str, job: str) -> None:
    """End JOB and every process of it."""
    AirExecutorClient(base_path).cancel(job, reason)
