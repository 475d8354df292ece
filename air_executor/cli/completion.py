"""`air-executor completion`."""

from __future__ import annotations

import click

_HOW = {
    "bash": 'eval "$(air-executor completion bash)"  in ~/.bashrc',
    "zsh": 'eval "$(air-executor completion zsh)"  in ~/.zshrc, after compinit',
    "fish": "air-executor completion fish > ~/.config/fish/completions/air-executor.fish",
}


@click.command(epilog="\b\n" + "\n".join(f"{shell:<5} {how}" for shell, how in _HOW.items()))
@click.argument("shell", type=click.Choice(tuple(_HOW)))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, jobs and tasks."""
    from click.shell_completion import get_completion_class

    from air_executor.cli.main import commands

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that the argument allows"
    script = kind(commands, {}, "air-executor", "_AIR_EXECUTOR_COMPLETE")
    click.echo(script.source_template % script.source_vars())
