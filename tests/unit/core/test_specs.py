"""What makes a spec valid."""

from __future__ import annotations

import msgspec
import pytest

from air_executor.core.specs import JobOptions, JobSpec, TaskSpec, check_job
from air_executor.errors import InvalidJobError, InvalidNameError
from tests.support.jobs import task


def test_a_job_needs_a_task_unless_it_is_open() -> None:
    with pytest.raises(InvalidJobError, match="holds no task; give it at least one"):
        check_job(JobSpec(name="empty", tasks=()))
    check_job(JobSpec(name="empty", tasks=(), options=JobOptions(is_open=True)))


def test_an_id_that_occurs_twice_is_named() -> None:
    with pytest.raises(InvalidJobError, match="'a' occurs twice"):
        check_job(JobSpec(name="j", tasks=(task("a"), task("b"), task("a"))))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ""}, "`command` is empty"),
        ({"command": " \t"}, "`command` is empty"),
        ({"command": "a\0b"}, "zero byte"),
        ({"args": ("x", "a\0b")}, "zero byte"),
        ({"env": {"A": "\0"}}, "zero byte"),
        ({"env": {"A\0": ""}}, "zero byte"),
        ({"workload": "../workload.json"}, "`workload` must be the name of a file in the job's directory"),
        ({"cwd": "relative/path"}, "`cwd` must be an absolute path"),
        ({"cwd": ""}, "`cwd` must be an absolute path"),
    ],
)
def test_a_task_that_cannot_run_is_refused_by_its_id(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidJobError, match=message) as caught:
        check_job(JobSpec(name="j", tasks=(task("good"), task("bad", **fields))))
    assert "'bad'" in str(caught.value)


def test_a_variable_whose_name_no_process_can_have_is_refused() -> None:
    with pytest.raises(InvalidJobError, match="'A=B'"):
        check_job(JobSpec(name="j", tasks=(task("bad", env={"A=B": "1"}),)))


def test_the_name_is_checked() -> None:
    with pytest.raises(InvalidNameError):
        check_job(JobSpec(name="../up", tasks=(task("a"),)))


@pytest.mark.parametrize(
    "field",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": 1e300},
        {"memory_limit_bytes": 0},
        {"retry_delay_s": -1},
        {"retry_backoff": 0.5},
        {"retry_backoff": 1e9},
        {"priority": 2**40},
        {"env": {"A": 1}},
        {"args": "word"},
        {"runner": "other"},
        {"dependencies": [1]},
    ],
)
def test_values_that_no_field_can_have_are_refused_when_read(field: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(field))):
        msgspec.convert({"id": "a", "command": "true", **field}, TaskSpec)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_no_number_can_be_infinite(value: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b'{"id": "a", "command": "true", "timeout_s": %s}' % value.encode(), type=TaskSpec)
