"""The order that dependencies demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from air_executor.core.specs import TaskSpec
from air_executor.errors import DependencyError


def check_order(tasks: Sequence[TaskSpec]) -> None:
    """Check tasks that are all that their job will have: every dependency exists and none leads back to its start.

    :raises DependencyError: naming the unknown id, or the path of the cycle.
    """
    ids = {task.id for task in tasks}
    for task in tasks:
        for dependency in task.dependencies:
            if dependency not in ids:
                raise DependencyError(
                    f"task {task.id!r} depends on {dependency!r}, which the job does not have: correct `dependencies`"
                )
    check_acyclic(tasks)


def check_acyclic(tasks: Iterable[TaskSpec]) -> None:
    """Check that no dependency among these tasks leads back to its start; what is not among them is not followed.

    :raises DependencyError: naming the path of the cycle.
    """
    new = {task.id: task for task in tasks}
    done: set[str] = set()
    for start in new:
        if start not in done:
            _visit(start, new, done)


def _visit(start: str, new: dict[str, TaskSpec], done: set[str]) -> None:
    # Iterative: a chain of 100,000 tasks must not exhaust the interpreter's stack.
    path = [start]
    on_path = {start}
    pending = [iter(new[start].dependencies)]
    while path:
        dependency = next(pending[-1], None)
        if dependency is None:
            done.add(path[-1])
            on_path.discard(path.pop())
            pending.pop()
        elif dependency in on_path:
            cycle = [*path[path.index(dependency) :], dependency]
            raise DependencyError("the dependencies form a cycle: " + " -> ".join(repr(step) for step in cycle))
        elif dependency in new and dependency not in done:
            path.append(dependency)
            on_path.add(dependency)
            pending.append(iter(new[dependency].dependencies))
