"""Words for what was learned about a module: whether it is loaded ahead of tasks, and if not, why. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec

from air_executor.core import preload
from air_executor.core.preload import Denial, Learned


class Standing(str, Enum):
    """How a module stands in one environment."""

    LOADED = "loaded"
    """Loaded ahead of tasks."""
    DENIED = "denied"
    """Something speaks against it; tasks import it themselves."""
    FRESH = "fresh"
    """It belongs to no installed package, so that it may change; tasks import it themselves."""
    WAITING = "waiting"
    """Enough tasks import it; its trial comes when nothing runs."""
    SEEN = "seen"
    """Too few tasks have imported it."""
    UNKNOWN = "unknown"
    """No task was seen importing it."""


class Explanation(msgspec.Struct, frozen=True):
    """What is known of a module, and what somebody can do who wants it otherwise."""

    standing: Standing
    text: str
    remedy: str | None = None


_REMEDIES = {
    "memory": "raise [air_executor] preload_memory_limit to have it loaded all the same",
    "option": "change the options preload_allow and preload_deny of [air_executor]",
    "thread": "update the package, or have it start threads when they are first needed",
    "descriptor": "update the package, or have it connect when that is first needed",
    "hang": "see what it waits for: python -X importtime -c 'import {module}'",
    "time": "see what takes so long: python -X importtime -c 'import {module}'",
    "crash": "try it by hand: python -X faulthandler -c 'import {module}'",
    "error": "try it by hand: python -c 'import {module}'",
    "shadowed": "give the module in the DAG folder another name",
}


def explain_module(learned: Learned, module: str, now: datetime) -> Explanation:
    """Say how a module stands."""
    culprit = preload.covers(learned.denied, module)
    if culprit is not None:
        return _explain_denial(culprit, module, learned.denied[culprit])
    if module in learned.shadowed and module not in learned.seen:
        return Explanation(
            Standing.FRESH,
            "read fresh by each task: it comes from outside of installed packages (a DAG folder, a bundle, a plugin, an editable "
            "install), so it may change",
        )
    reason = preload.why_not(learned, module)
    if reason is not None:
        return Explanation(Standing.DENIED, f"each task imports it itself: {reason}", _REMEDIES["shadowed"])
    loaded = learned.loaded.get(module)
    if loaded is not None:
        others = f", with {len(loaded.brings)} other modules" if loaded.brings else ""
        return Explanation(
            Standing.LOADED,
            f"loaded ahead of tasks{others}: spares each task that imports it {loaded.seconds:.2f} s of CPU time",
        )
    root = next((name for name, each in learned.loaded.items() if module in each.brings), None)
    if root is not None:
        return Explanation(Standing.LOADED, f"loaded ahead of tasks: it comes with {root}")
    sighting = learned.seen.get(module)
    if sighting is None:
        return Explanation(
            Standing.UNKNOWN,
            "no task was seen importing it, or it comes with Airflow. Modules of DAG folders, bundles and plugins, and editable "
            "installs, are never loaded ahead, because they may change",
        )
    if module in preload.list_candidates(learned, now):
        return Explanation(
            Standing.WAITING, f"waits for its trial: {sighting.attempts} attempts were seen importing it"
        )
    return Explanation(
        Standing.SEEN,
        f"{sighting.attempts} attempt was seen importing it: it is tried when {preload.ENOUGH_ATTEMPTS} have",
    )


def _explain_denial(culprit: str, module: str, denial: Denial) -> Explanation:
    package = "" if culprit == module else f"{culprit}: "
    remedy = _REMEDIES.get(denial.cause)
    return Explanation(
        Standing.DENIED,
        f"each task imports it itself: {package}{denial.reason}",
        remedy.format(module=culprit) if remedy else None,
    )
