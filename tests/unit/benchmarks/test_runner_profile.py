from __future__ import annotations

from typing import Any

from benchmarks.runner_profile import render


def make_measured(factor: float) -> dict[str, Any]:
    part = {"user_ms": 2.0 * factor, "system_ms": 1.0 * factor, "faults": 1500}
    runner = {"supervisor": part, "task": part, "all": {"elapsed_ms": 30.0}}
    slow = {"supervisor": part, "task": {**part, "user_ms": 1000.0}, "all": {"elapsed_ms": 5000.0}}
    measured = {"runners": [runner, slow, runner], "parent": part}
    return {"alone": measured, "at_once": measured}


def test_each_variant_has_a_row_of_medians_for_each_way() -> None:
    lines = render({"as it is": make_measured(1), "without preload": make_measured(2)}).splitlines()
    assert len(lines) == 2 + 4
    cell = "2.0 + 1.0 (1,500)"
    assert lines[2] == f"| one after the other, as it is | {cell} | {cell} | {cell} | 9.0 | 30 | 3 |"
    assert lines[3].startswith("| one after the other, without preload | 4.0 + 2.0")
    assert lines[5].startswith("| 32 at once, without preload")
