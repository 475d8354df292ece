from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.executors import EXECUTORS
from benchmarks.pictures import draw_all
from benchmarks.side_by_side_report import ROLES, ROWS, judge, render


def make_round(factor: float) -> dict[str, Any]:
    cpu_ms = {**dict.fromkeys(ROLES, 10.0 * factor), "triggerer": 0.0}
    return {
        "tasks_per_s": 30.0 / factor,
        "chain_s": 2.0 * factor,
        "pandas_s": 3.0 * factor,
        "provider_s": 4.0 * factor,
        "slow_parse_s": 1.0 * factor,
        "true_cpu_ms": cpu_ms,
        "pandas_cpu_ms": cpu_ms,
        "provider_cpu_ms": cpu_ms,
        "queued_to_started_ms": [5.0 * factor, 6.0 * factor, 7.0 * factor],
        "idle_mib": 100.0 * factor,
        "idle_processes": 2,
        "idle_loaded_mib": 160.0 * factor,
        "running_mib": 17.0 * factor,
        "added_mib": 15.0 * factor,
        "held_slots": 32,
    }


def make_result(**rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "at": "2026-01-01 00:00 UTC",
        "machine": {"cores": "2"},
        "sizes": {"width": 100, "length": 20, "heavy": 40, "steps": 5, "singles": 10},
        "unavailable": {},
        "versions": {"air": {"apache-airflow": "3.3.2"}},
        "job_files": {"submit_cpu_ms": 0.3, "submit_wall_ms": 0.4, "read_cpu_ms": 0.1},
        "rounds": rounds,
    }


def verdict(what: str, result: dict[str, Any]) -> str:
    row = next(row for row in ROWS if row.what.startswith(what))
    return judge(row, result["rounds"])


def test_goals_are_ratios_of_one_run_and_limits() -> None:
    far = make_result(air=[make_round(1)], local=[make_round(11)])
    assert verdict("{width} `true`", far) == ">= 1.6 x LocalExecutor: met (11.00 x)"
    assert verdict("chain", far).startswith("<= 1/7 of LocalExecutor: met")
    assert verdict("{heavy} tasks, pandas", far).startswith("<= 1/10 of LocalExecutor: met")
    assert verdict("memory per running task", far) == "<= 18: met (0.09 x)"
    assert verdict("slots held", far) == "all: met"
    near = make_result(air=[make_round(2)], local=[make_round(3)])
    assert "**missed** (1.50 x)" in verdict("{width} `true`", near)
    assert "**missed**" in verdict("memory per running task", near)


def test_goals_are_told_of_both_ways_of_this_executor() -> None:
    result = make_result(air=[make_round(2)], air_templates=[make_round(1)], local=[make_round(3)])
    assert verdict("{width} `true`", result) == (
        ">= 1.6 x LocalExecutor: **missed** (1.50 x), DAG templates met (3.00 x)"
    )
    only_templates = make_result(air_templates=[make_round(1)])
    assert verdict("memory per running task", only_templates) == "<= 18: DAG templates met"


def test_memory_with_heavy_packages_is_told_apart_and_has_no_goal() -> None:
    result = make_result(air=[make_round(1)])
    assert verdict("memory, idle after work, MiB", result) == "<= 120: met"
    assert "| memory, idle after work, pandas and a provider preloaded, MiB | 160 |  |" in render(result, [])


def test_slots_that_are_not_all_held_miss_the_goal() -> None:
    held, not_held = make_round(1), make_round(1) | {"held_slots": 0}
    assert verdict("slots held", make_result(air=[held])) == "all: met"
    assert verdict("slots held", make_result(air=[not_held])) == "all: **missed**"


def test_cpu_per_task_leaves_the_api_server_out() -> None:
    row = next(row for row in ROWS if row.what.startswith("CPU per `true`"))
    assert row.values([make_round(1)]) == [40.0]


def test_ratio_to_an_executor_that_was_not_measured_is_not_told() -> None:
    assert "not told" in verdict("chain", make_result(air=[make_round(1)]))


def test_executor_that_could_not_run_is_named_with_the_reason() -> None:
    result = make_result(air=[make_round(1)], local=[make_round(2)], celery=[])
    result["unavailable"] = {"celery": "failed in round 1: no\nbroker"}
    text = render(result, [("Speed", "images/speed.svg")])
    assert "**CeleryExecutor**: failed in round 1: no broker" in text
    assert "| | AirExecutorExecutor | LocalExecutor | goal |" in text
    assert "![Speed](images/speed.svg)" in text


@pytest.mark.parametrize("drop", ["chain_s", "true_cpu_ms", "queued_to_started_ms", "pandas_cpu_ms"])
def test_workloads_left_out_leave_their_rows_out(drop: str) -> None:
    result = make_result(air=[make_round(1)], local=[make_round(2)])
    for rounds in result["rounds"].values():
        del rounds[0][drop]
    tables = re.findall(r"^\|.*\|$", render(result, []), re.MULTILINE)
    assert tables
    assert len(tables) < len(re.findall(r"^\|.*\|$", render(make_full(), []), re.MULTILINE))


def make_full() -> dict[str, Any]:
    return make_result(**{key: [make_round(number + 1)] for number, key in enumerate(EXECUTORS)})


def test_pictures_are_drawn_alike_from_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    drawn = draw_all(make_full(), tmp_path / "images")
    assert [path for _, path in drawn] == [
        "images/executors-speed.svg",
        "images/executors-memory.svg",
        "images/executors-cpu.svg",
    ]
    first = [(tmp_path / path).read_bytes() for _, path in drawn]
    draw_all(make_full(), tmp_path / "images")
    assert [(tmp_path / path).read_bytes() for _, path in drawn] == first
