from __future__ import annotations

from benchmarks.soak_report import find_faults, growth_per_1000, render

TASKS = list(range(0, 10_001, 500))
MEMORY = "manager: memory of its own, MiB"
DESCRIPTORS = "manager: open descriptors"


def test_growth_is_that_of_the_second_half() -> None:
    warming = [0.0] * 10 + [50.0] * 11
    assert growth_per_1000(TASKS, warming) == 0
    steady = [20 + tasks / 1000 * 0.3 for tasks in TASKS]
    assert round(growth_per_1000(TASKS, steady), 6) == 0.3


def test_one_value_out_of_line_is_no_growth() -> None:
    values = [20.0] * 20 + [35.0]
    assert growth_per_1000(TASKS, values) == 0


def test_one_sample_has_no_growth() -> None:
    assert growth_per_1000([0], [20.0]) == 0


def test_growth_within_its_tolerance_meets_the_goal() -> None:
    samples = [{MEMORY: 20 + tasks / 1000 * 0.05, DESCRIPTORS: 14.0} for tasks in TASKS]
    assert find_faults(TASKS, samples) == []
    assert render(TASKS, samples, "load").splitlines()[-1] == "goal: no growth: met"


def test_what_grows_is_named() -> None:
    samples = [{MEMORY: 20.0, DESCRIPTORS: 14 + tasks / 1000} for tasks in TASKS]
    text = render(TASKS, samples, "load")
    assert text.splitlines()[-1] == f"goal: no growth: **missed** ({DESCRIPTORS} +1.00)"
    assert f"| {DESCRIPTORS} | 14 | 24 | +1.00 | 0.5 |" in text


def test_what_grows_on_purpose_is_shown_and_not_judged() -> None:
    samples = [{"manager.log, KiB": 0.3 * tasks} for tasks in TASKS]
    assert find_faults(TASKS, samples) == []
    assert "rotates" in render(TASKS, samples, "load")


def test_what_vanishes_counts_as_none() -> None:
    assert find_faults([0, 1500, 3000], [{DESCRIPTORS: 1.0}, {DESCRIPTORS: 1.0}, {}]) == []


def test_growth_is_not_told_while_warming_up() -> None:
    samples = [{MEMORY: 20.0 + number} for number in range(3)]
    assert render([0, 200, 400], samples, "load").splitlines()[-1] == "goal: no growth: not told, too few tasks"


def test_one_job_that_is_left_behind_is_a_fault() -> None:
    samples = [{"finished jobs beyond their time": float(tasks > 1000)} for tasks in TASKS]
    assert find_faults(TASKS, samples) == ["finished jobs beyond their time 1"]
    assert "| 0 | 1 | +0.00 | none may be there |" in render(TASKS, samples, "load")
