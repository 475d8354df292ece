"""The order of dependencies: every unknown id and every cycle is named, however long the chain."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_executor.core.graph import check_acyclic, check_order
from air_executor.errors import DependencyError
from tests.support.jobs import task


def test_an_unknown_dependency_is_named_with_the_remedy() -> None:
    with pytest.raises(DependencyError, match="'b' depends on 'missing', which the job does not have: correct"):
        check_order([task("a"), task("b", "a", "missing")])


def test_tasks_that_arrive_later_may_depend_on_what_is_not_among_them() -> None:
    check_acyclic([task("b", "a"), task("c", "b")])


@pytest.mark.parametrize(
    ("tasks", "path"),
    [
        ([task("a", "a")], "'a' -> 'a'"),
        ([task("a", "b"), task("b", "a")], "'a' -> 'b' -> 'a'"),
        ([task("z", "a"), task("a", "b"), task("b", "c"), task("c", "a")], "'a' -> 'b' -> 'c' -> 'a'"),
    ],
)
def test_a_cycle_is_named_by_its_path(tasks: list, path: str) -> None:
    with pytest.raises(DependencyError, match=re.escape(path) + "$"):
        check_order(tasks)


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_a_chain_of_100_000_tasks(order: str) -> None:
    chain = [task("0"), *(task(str(n), str(n - 1)) for n in range(1, 100_000))]
    if order == "backwards":
        chain.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(chain)
    check_order(chain)


def test_a_cycle_at_the_end_of_a_long_chain() -> None:
    size = 100_000
    chain = [task("0", str(size - 1)), *(task(str(n), str(n - 1)) for n in range(1, size))]
    with pytest.raises(DependencyError, match="cycle"):
        check_order(chain)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
def test_it_agrees_with_repeated_removal_of_what_depends_on_nothing(edges: list[tuple[int, int]]) -> None:
    dependencies = {n: {b for a, b in edges if a == n} for n in range(8)}
    tasks = [task(str(n), *map(str, sorted(found))) for n, found in dependencies.items()]
    left = dict(dependencies)
    while free := [n for n, found in left.items() if not found & left.keys()]:
        for n in free:
            del left[n]
    if not left:
        check_order(tasks)
        return
    with pytest.raises(DependencyError) as caught:
        check_order(tasks)
    path = [int(step) for step in re.findall(r"'(\d)'", str(caught.value))]
    assert path[0] == path[-1]
    assert all(after in dependencies[before] for before, after in itertools.pairwise(path))
