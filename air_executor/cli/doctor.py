"""`air-executor doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from air_executor.cli import exit_codes
from air_executor.cli.options import base_path_option, json_option
from air_executor.cli.output import colour, print_json


@click.command()
@base_path_option
@json_option
def doctor(base_path: Path, as_json: bool) -> None:
    """Check base path, limits, file events, cgroups and versions, and name the remedy for what is found.

    Exit code 1 if something is a problem; warnings are about what works less well.
    """
    from air_executor.cli.checks import Verdict, check_all

    findings = check_all(base_path)
    if as_json:
        entries = [{**each._asdict(), "verdict": each.verdict.value} for each in findings]
        print_json({"base_path": str(base_path), "findings": entries})
    else:
        for finding in findings:
            click.echo(
                f"{colour(finding.verdict.value, sys.stdout)}{'':<{8 - len(finding.verdict.value)}} {finding.subject}: {finding.text}"
            )
            if finding.remedy:
                click.echo(f"{'':<9}{finding.remedy}")
    if any(finding.verdict is Verdict.PROBLEM for finding in findings):
        raise click.exceptions.Exit(exit_codes.FAILED)
