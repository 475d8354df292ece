"""`air-executor preload`: what was learned, in words and as JSON."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from air_executor.core.preload import Denial, Learned, LoadedModule, Report, Sighting, TemplateNote, TrialNote
from air_executor.store.learned import LearnedFiles, files_of
from air_executor.store.root import Root
from tests.integration.cli.conftest import Shell

NOW = datetime.now(timezone.utc)


@pytest.fixture
def files(shell: Shell) -> LearnedFiles:
    files = files_of(Root.open(shell.root), "0123456789abcdef")
    files.create()
    files.write(
        Learned(
            "/opt/venv/bin/python",
            seen={"once": Sighting(1, NOW, NOW), "twice": Sighting(2, NOW, NOW), "bad": Sighting(2, NOW, NOW)},
            loaded={"pandas": LoadedModule(NOW, 1.25, 40 << 20, ("pandas.core", "numpy"))},
            denied={"bad": Denial(NOW, "crash", "its import ended the process (SIGSEGV)\x1b[2J")},
            trial=TrialNote(NOW),
        )
    )
    return files


def test_nothing_was_learned(shell: Shell) -> None:
    Root.open(shell.root)
    assert "Nothing was learned yet" in shell("preload", "status").stdout
    assert shell.json_of("preload", "status") == []
    assert shell("preload", "clear").returncode == 0


def test_root_that_does_not_exist(shell: Shell) -> None:
    result = shell("preload", "status", "--base-path", str(shell.directory / "nowhere"))
    assert result.returncode == 5
    assert "does not exist" in result.stderr


def test_status_shows_what_is_loaded_denied_and_waiting(shell: Shell, files: LearnedFiles) -> None:
    text = shell("preload", "status").stdout

    assert "environment 01234567 (/opt/venv/bin/python)" in text
    assert "1.25 s" in text
    assert "40.0 MiB" in text
    assert "SIGSEGV" in text
    assert "waiting for a trial: twice" in text
    assert "seen too seldom: once" in text
    assert "\x1b" not in text


def test_status_as_json_says_whether_all_is_settled(shell: Shell, files: LearnedFiles) -> None:
    (found,) = shell.json_of("preload", "status")
    assert (found["waiting"], found["seen"], found["is_settled"]) == (["twice"], {"once": 1}, False)
    assert found["loaded"][0]["brings"] == ["pandas.core", "numpy"]

    learned = files.read()
    assert learned is not None
    del learned.seen["twice"]
    files.write(learned)
    assert shell.json_of("preload", "status")[0]["is_settled"]
    files.add_report(Report(("new",)))
    assert not shell.json_of("preload", "status")[0]["is_settled"]


@pytest.mark.parametrize(
    ("module", "standing", "words", "code"),
    [
        ("pandas", "loaded", "with 2 other modules", 0),
        ("numpy", "loaded", "it comes with pandas", 0),
        ("bad.part", "denied", "bad: its import ended the process", 0),
        ("twice", "waiting", "waits for its trial", 0),
        ("once", "seen", "1 attempt", 0),
        ("nobody", "unknown", "no task was seen", 4),
    ],
)
def test_explanations(shell: Shell, files: LearnedFiles, module: str, standing: str, words: str, code: int) -> None:
    result = shell("preload", "explain", module)
    assert words in result.stdout
    assert result.returncode == code
    if code == 0:
        assert json.loads(shell.ok("preload", "explain", "--json", module))[0]["standing"] == standing


def test_clear_forgets_one_environment_or_all(shell: Shell, files: LearnedFiles) -> None:
    assert shell("preload", "clear", "ffff").returncode == 4
    assert files.read() is not None

    assert "forgot" in shell("preload", "clear", "0123").stdout
    assert files.read() is None
    assert shell.json_of("preload", "status") == []


def test_status_shows_dag_files_that_are_parsed_for_many_tasks_and_why_others_are_not(
    shell: Shell, files: LearnedFiles
) -> None:
    files.write_templates(
        "airflow-1",
        [
            TemplateNote(bundle="dags", path="fast.py", version="abc", at=NOW, seconds=2.1, memory_bytes=2**20),
            TemplateNote(bundle="dags", path="asks.py", at=NOW, reason="it asks Airflow for a variable"),
        ],
    )
    shown = " ".join(shell.ok("preload", "status").split())
    assert "dags@abc/fast.py 2.10 s 1.0 MiB" in shown
    assert "dags/asks.py it asks Airflow for a variable" in shown
    (found,) = shell.json_of("preload", "status")
    assert [(each["path"], each["reason"]) for each in found["dag_templates"]] == [
        ("fast.py", None),
        ("asks.py", "it asks Airflow for a variable"),
    ]
