from __future__ import annotations

from benchmarks.executors import EXECUTORS
from benchmarks.side_by_side import estimate_s
from benchmarks.workloads import WORKLOADS, dags_to_warm_up, phases_of

HEAVY_DAGS = {"pandas_warm_up", "provider_warm_up", "slow_parse_warm_up"}


def test_nothing_heavy_is_there_when_plain_memory_is_measured() -> None:
    plain, heavy = phases_of(list(WORKLOADS))
    assert "memory" in plain
    assert not HEAVY_DAGS & set(dags_to_warm_up(plain))
    assert set(dags_to_warm_up(heavy)) >= HEAVY_DAGS
    assert heavy[-2:] == ["loaded_memory", "retired"]


def test_phase_without_workloads_is_left_out() -> None:
    assert phases_of(["chain"]) == [["chain"]]
    assert phases_of(["slow_parse"]) == [["slow_parse"]]


def test_each_phase_has_something_to_warm_up_with() -> None:
    for name in WORKLOADS:
        assert dags_to_warm_up([name])


def test_dags_are_warmed_up_once() -> None:
    assert dags_to_warm_up(["independent", "chain"]) == ["single", "independent_warm_up"]


def test_both_ways_of_this_executor_share_an_environment() -> None:
    assert EXECUTORS["air_templates"].environment == EXECUTORS["air"].environment
    assert EXECUTORS["air_templates"].settings["air_executor"]["dag_templates"] == "True"
    assert "dag_templates" not in EXECUTORS["air"].settings["air_executor"]


def test_whole_run_takes_about_fifty_minutes_at_most() -> None:
    assert round(estimate_s(list(EXECUTORS), list(WORKLOADS), 3, is_quick=False) / 60) <= 50
