"""Lets task processes share pydantic adapters that Airflow would build in each of them, twice: milliseconds each time.

Airflow's modules name `TypeAdapter` when they need one; that name is replaced by a shelf that hands out those built
before the fork, and builds all others as ever. A module that does it differently is left as it is.
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import TypeAdapter

_SHARED = (
    ("airflow.sdk.execution_time.comms", ("ToTask",)),
    ("airflow.sdk.execution_time.task_runner", ("JsonValue", "StartupDetails")),
)


class AdapterShelf:
    """Stands in a module for the class `TypeAdapter`; adapters have no state, so that one serves all."""

    def __init__(self, kinds: list[Any]) -> None:
        """Build an adapter for each of `kinds`."""
        self._built = [(kind, TypeAdapter(kind)) for kind in kinds]

    def __call__(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        """Return an adapter as `TypeAdapter(kind)` would."""
        if not arguments and not options:
            for known, adapter in self._built:
                # By identity: what is merely equal may carry other annotations.
                if known is kind:
                    return adapter
        return TypeAdapter(kind, *arguments, **options)

    def __getitem__(self, kind: Any) -> Any:
        """Return `TypeAdapter[kind]`."""
        return TypeAdapter[kind]


def share() -> tuple[str, ...]:
    """Put shelves into the loaded modules that use adapters; return the modules' names. Idempotent."""
    changed = []
    for name, kinds in _SHARED:
        module = sys.modules.get(name)
        if getattr(module, "TypeAdapter", None) is not TypeAdapter:
            continue
        found = [getattr(module, kind) for kind in kinds if hasattr(module, kind)]
        setattr(module, "TypeAdapter", AdapterShelf(found))  # noqa: B010 # mypy knows no such attribute
        changed.append(name)
    return tuple(changed)
