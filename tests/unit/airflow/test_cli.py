"""`airflow air-executor ...`: what it has `air-executor` do."""

from __future__ import annotations

import os
from argparse import Namespace

import pytest

from air_executor.airflow import cli
from air_executor.airflow.options import read_options
from air_executor.manager_process import list_arguments, list_variables

SECRET = "postgresql://me:sesame@host/db"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command; return its words and its environment."""

    def become(_, words, environment):
        raise SystemExit(words[3:], environment)

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setenv("AIR_EXECUTOR_BASE_PATH", str(tmp_path))

    def run(*words, arguments=()):
        [command] = cli.get_commands()
        for word in words:
            command = next(each for each in command.subcommands if each.name == word)
        with pytest.raises(SystemExit) as left:
            command.func(Namespace(arguments=list(arguments)))
        return left.value.args

    return run


@pytest.mark.parametrize("action", ["run", "start"])
def test_a_manager_gets_all_settings_that_the_scheduler_gives_it(run, monkeypatch, action):
    for name, text in {"SLOTS": "7", "CANCEL_GRACE": "3", "HISTORY": "True", "HISTORY_URL": SECRET}.items():
        monkeypatch.setenv(f"AIRFLOW__AIR_EXECUTOR__{name}", text)

    words, environment = run("manager", action, arguments=["--slots=9"])

    settings = read_options(lambda section, name: os.environ.get(f"AIRFLOW__{section}__{name}".upper()), os.environ)
    given = settings.list_manager_settings(parallelism=32)
    assert words == ["manager", action, *list_arguments(given), "--slots=9"]
    assert {"--slots=7", "--kill-grace=3.0", "--history"} < set(words)
    assert list_variables(given) == {"AIRFLOW__AIR_EXECUTOR__HISTORY_URL": SECRET}
    assert environment.items() >= list_variables(given).items()
    # Everybody can read a command line.
    assert "sesame" not in str(words)


def test_slots_are_the_parallelism_of_airflow_where_they_are_not_given(run, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "5")
    words, environment = run("manager", "run")
    assert "--slots=5" in words
    assert "--history" not in words
    assert "AIRFLOW__AIR_EXECUTOR__HISTORY_URL" not in environment


def test_commands_that_start_no_manager_get_the_base_path_alone(run, tmp_path):
    words, environment = run("manager", "status", arguments=["--json"])
    assert words == ["manager", "status", "--json"]
    assert environment["AIR_EXECUTOR_BASE_PATH"] == str(tmp_path)
