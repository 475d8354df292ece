from __future__ import annotations

import os
from pathlib import Path

import pytest

from air_executor.cli.task_sources import (
    WITHOUT_ID,
    default_name,
    is_job_file,
    read_job,
    tasks_from_command,
    tasks_from_lines,
    with_own_ids,
)
from air_executor.core.specs import check_tasks
from air_executor.errors import InvalidJobError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "jobs.jsonl"


def test_a_command_is_one_task_with_the_options_given() -> None:
    [task] = tasks_from_command(("make", "all"), {"retries": 2})
    assert (task.id, task.command, task.args, task.retries) == ("task-1", "make", ("all",), 2)


def test_each_line_fills_the_placeholder_wherever_it_is(source: Path) -> None:
    source.write_text("a b.csv\n\nc.csv\r\n")
    tasks = tasks_from_lines(("gzip", "-o", "out/{}.gz", "{}"), str(source), {})
    assert [task.args for task in tasks] == [("-o", "out/a b.csv.gz", "a b.csv"), ("-o", "out/c.csv.gz", "c.csv")]
    assert [task.id for task in tasks] == ["task-1", "task-2"]


def test_without_a_placeholder_the_line_is_the_last_argument(source: Path) -> None:
    source.write_text("a\n")
    [task] = tasks_from_lines(("rm", "-f"), str(source), {})
    assert task.args == ("-f", "a")


def test_a_file_without_lines_is_an_error(source: Path) -> None:
    source.write_text("\n\n")
    with pytest.raises(InvalidJobError, match="holds no line"):
        tasks_from_lines(("rm",), str(source), {})


def test_json_lines_are_objects_or_words_and_win_over_options(source: Path) -> None:
    source.write_text('{"id": "x", "command": "a", "retries": 0, "env": {"B": "2"}}\n["b", "c"]\n')
    first, second = read_job(str(source), {"retries": 3, "env": {"A": "1", "B": "1"}}).tasks
    assert (first.id, first.retries, first.env) == ("x", 0, {"A": "1", "B": "2"})
    assert (second.id, second.command, second.args, second.retries) == ("task-2", "b", ("c",), 3)


def test_a_list_of_objects_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text('[\n{"command": "a", "status": "completed"},\n{"command": "b", "dependencies": ["task-1"]}\n]')
    tasks = read_job(str(path), {}).tasks
    assert [(task.id, task.dependencies) for task in tasks] == [("task-1", ()), ("task-2", ("task-1",))]


def test_an_object_with_tasks_is_a_whole_job(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"name": "n", "tasks": [{"command": "a"}], "options": {"max_parallel": 2}, "labels": {"k": "v"}}')
    job = read_job(str(path), {})
    assert (job.name, job.options.max_parallel, job.labels) == ("n", 2, {"k": "v"})


def test_a_relative_directory_is_meant_from_here(source: Path) -> None:
    source.write_text('{"command": "a", "cwd": "sub"}')
    [task] = read_job(str(source), {}).tasks
    assert task.cwd == os.path.abspath("sub")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "jobs.jsonl: line 1: is not JSON"),
        ('\n\n{"comand": "a"}', "jobs.jsonl: line 3: unknown field 'comand'"),
        ('{"command": "a", "retries": "x"}', r"line 1: Expected `int`, got `str` - at `\$.retries`"),
        ('{"args": []}', "line 1: Object missing required field `command`"),
        ('"make all"', "line 1: must be an object"),
        ("[1]", "line 1: must be an object"),
        ("", "holds no task"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(source: Path, content: str, message: str) -> None:
    source.write_text(content)
    with pytest.raises(InvalidJobError, match=message):
        read_job(str(source), {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tasks": {}}', "`tasks` must be a list"),
        ('{"tasks": [], "nme": "x"}', "unknown field 'nme'"),
        ('{"tasks": [], "options": {"max_parallel": 0}}', "max_parallel|>= 1"),
        ('{"tasks": []}', "holds no task"),
    ],
)
def test_a_document_that_is_wrong_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(content)
    with pytest.raises(InvalidJobError, match=message):
        read_job(str(path), {})


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidJobError, match=r"nothing\.json: cannot be read"):
        read_job(str(tmp_path / "nothing.json"), {})


def test_files_are_told_from_commands_by_their_names() -> None:
    assert is_job_file(("jobs.jsonl",))
    assert is_job_file(("-",))
    assert not is_job_file(("make",))
    assert not is_job_file(("cat", "jobs.jsonl"))


def test_own_ids_depend_on_what_runs_and_where_alone() -> None:
    def ids(*words: str, **fields: object) -> str:
        return with_own_ids(tasks_from_command(words, {**WITHOUT_ID, **fields}))[0].id

    assert ids("echo", "a") == ids("echo", "a", retries=3)
    assert len({ids("echo", "a"), ids("echo", "b"), ids("echo", "a", cwd="/tmp"), ids("printf", "a")}) == 4
    assert ids("/bin/echo", "a").startswith("echo-")


def test_ids_that_are_given_stay(source: Path) -> None:
    source.write_text('{"id": "mine", "command": "a"}\n["b"]\n["c"]\n')
    tasks = with_own_ids(read_job(str(source), WITHOUT_ID).tasks)
    assert tasks[0].id == "mine"
    check_tasks(tasks)


def test_names_are_readable() -> None:
    assert default_name(("/usr/bin/make", "all"), None) == "make"
    assert default_name((), "dir/nightly load.jsonl") == "nightly-load"
    assert default_name((), "-") == "job"
    assert default_name(("...",), None) == "job"
