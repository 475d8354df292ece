"""What is learned about the modules that tasks import, and what follows from it: which are tried, loaded, denied. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

ENOUGH_ATTEMPTS = 2
"""A module that fewer attempts have imported may never be needed again."""
FORGET_AFTER = timedelta(days=30)
"""What no task was seen importing for so long is no longer loaded, until tasks import it again."""
MOST_NAMES = 20_000
"""As many names are remembered; large sites import a few thousand."""
_MOST_CHARACTERS = 200
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

QUIET_S = 2.0
"""A trial starts when nothing has run for so long,"""
LATEST_S = 60.0
"""or at the latest so long after there was something to try."""
INTERVAL_S = 30.0
"""At least so long after the last one, so that one trial tries many modules."""
_MOST_INTERVAL_S = 6 * 3600.0
_TOO_BUSY = "the machine was too busy to try everything"

Count = Annotated[int, msgspec.Meta(ge=0)]


class Sighting(msgspec.Struct):
    """A module that tasks were seen importing."""

    attempts: Count
    first_seen_at: datetime
    last_seen_at: datetime


class LoadedModule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A module that passed its trial, with the names that came with it."""

    since: datetime
    seconds: float
    """CPU time of its import."""
    memory_bytes: int
    brings: tuple[str, ...] = ()


class Denial(msgspec.Struct, frozen=True):
    """A module that is not loaded, and why."""

    at: datetime
    cause: str
    """A word: error, thread, descriptor, process, state, memory, time, hang, crash, origin, shadowed, option, denied."""
    reason: str


class TrialNote(msgspec.Struct, frozen=True):
    """How the last trial ended."""

    ended_at: datetime
    error: str | None = None
    failures: int = 0
    """How many in a row have failed without a culprit."""


class Learned(msgspec.Struct, omit_defaults=True):
    """All that is known for one environment."""

    python: str
    fingerprint: str | None = None
    """Of interpreter, installed packages and configuration: `loaded` and `denied` hold for no other."""
    seen: dict[str, Sighting] = {}
    """What a module needs comes before it, and a package before its modules."""
    loaded: dict[str, LoadedModule] = {}
    denied: dict[str, Denial] = {}
    shadowed: dict[str, datetime] = {}
    """Names that tasks import from elsewhere than installed packages."""
    trial: TrialNote | None = None


class TemplateNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it stands with the template of one DAG file."""

    bundle: str
    path: str
    """Relative to the bundle."""
    at: datetime
    version: str | None = None
    reason: str | None = None
    """Why its tasks parse it themselves; None while there is a template."""
    seconds: float = 0.0
    """What its parse took."""
    memory_bytes: int = 0


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the process of one task imported beyond what its warm parent had."""

    modules: tuple[str, ...]
    """From installed packages, in the order in which their imports ended: what a module needs comes before it."""
    elsewhere: tuple[str, ...] = ()
    """Names of modules from anywhere else, as DAG folders."""


class Began(msgspec.Struct, frozen=True, tag="began", tag_field="type"):
    """First line of a generation's record."""

    fingerprint: str


class Importing(msgspec.Struct, frozen=True, tag="importing", tag_field="type"):
    """Written before each import: the last one without an answer names what ended the process."""

    module: str


class Imported(msgspec.Struct, frozen=True, tag="imported", tag_field="type"):
    """The import has passed all checks."""

    module: str
    seconds: float
    memory_bytes: int
    brings: tuple[str, ...] = ()


class Denied(msgspec.Struct, frozen=True, tag="denied", tag_field="type"):
    """The module must not be loaded."""

    module: str
    cause: str
    reason: str


class Passed(msgspec.Struct, frozen=True, tag="passed", tag_field="type"):
    """Last line: the generation may serve."""

    is_learning: bool = True
    """False where learned preload is switched off."""
    already: tuple[str, ...] = ()
    """Candidates that were loaded with Airflow itself."""
    is_complete: bool = True
    """Whether a trial has come to its end; False where the machine had no time for it."""


Line = Began | Importing | Imported | Denied | Passed


def is_module_name(text: str) -> bool:
    """Claim that `text` can be the full name of a module."""
    return len(text) <= _MOST_CHARACTERS and _NAME.fullmatch(text) is not None


def covers(names: Container[str], module: str) -> str | None:
    """Return which of `names` is the module or a package around it, None if none is."""
    parts = module.split(".")
    return next((name for end in range(1, len(parts) + 1) if (name := ".".join(parts[:end])) in names), None)


def take_reports(learned: Learned, reports: Iterable[Report], now: datetime) -> bool:
    """Count what tasks have imported; returns whether anything was new. Names that cannot be are left out."""
    has_changed = False
    for report in reports:
        for name in report.elsewhere:
            if is_module_name(name) and len(learned.shadowed) < MOST_NAMES:
                # Only those that could be mistaken for an installed one are of interest later; all are cheap to keep.
                has_changed |= name not in learned.shadowed
                learned.shadowed[name] = now
        for name in _put_packages_first(report.modules):
            known = learned.seen.get(name)
            if known is not None:
                known.attempts += 1
                known.last_seen_at = now
            elif not is_module_name(name) or len(learned.seen) >= MOST_NAMES:
                continue
            else:
                learned.seen[name] = Sighting(1, now, now)
            has_changed = True
    return has_changed


def _put_packages_first(names: Sequence[str]) -> list[str]:
    """Return the names, each once, packages before their modules: importing a module imports its package first."""
    given, ordered = frozenset(names), dict[str, None]()
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if part in given:
                ordered[part] = None
    return list(ordered)


def list_candidates(learned: Learned, now: datetime) -> list[str]:
    """Return what a trial is to try, in the order of import: what was loaded before, and what tasks import."""
    loaded = [name for name, module in learned.loaded.items() if now - module.since < FORGET_AFTER]
    seen = [
        name
        for name, sighting in learned.seen.items()
        if sighting.attempts >= ENOUGH_ATTEMPTS and now - sighting.last_seen_at < FORGET_AFTER
    ]
    return [name for name in dict.fromkeys((*loaded, *seen)) if why_not(learned, name) is None]


def list_verified(learned: Learned, fingerprint: str, now: datetime) -> list[str]:
    """Return what may be loaded without a trial: it has passed one, and nothing has changed since."""
    if learned.fingerprint != fingerprint:
        return []
    return [
        name
        for name, module in learned.loaded.items()
        if now - module.since < FORGET_AFTER and why_not(learned, name) is None
    ]


def why_not(learned: Learned, module: str) -> str | None:
    """Say why a module is not loaded although tasks import it; None where nothing is against it."""
    culprit = covers(learned.denied, module)
    if culprit is not None:
        return learned.denied[culprit].reason
    if covers(learned.shadowed, module) is not None:
        return "tasks also import a module of this name from outside of installed packages"
    return None


def renew(learned: Learned, fingerprint: str, now: datetime) -> None:
    """Forget what no longer holds because interpreter, packages or configuration are others; names are kept."""
    if learned.fingerprint == fingerprint:
        return
    again = {name: Sighting(ENOUGH_ATTEMPTS, module.since, now) for name, module in learned.loaded.items()}
    learned.seen = {**again, **learned.seen}
    learned.loaded, learned.denied, learned.trial = {}, {}, None
    learned.fingerprint = fingerprint


def take_record(learned: Learned, lines: Sequence[Line], now: datetime, *, ended: str | None, was_trial: bool) -> None:
    """Learn from what a generation wrote.

    :param ended: how its process ended; None while it runs.
    """
    began = next((line for line in lines if isinstance(line, Began)), None)
    if began is None:
        return
    renew(learned, began.fingerprint, now)
    for line in lines:
        if isinstance(line, Denied):
            _deny(learned, line.module, Denial(now, line.cause, line.reason))
    last = lines[-1]
    has_passed = isinstance(last, Passed)
    culprit = last.module if ended is not None and isinstance(last, Importing) else None
    if culprit is not None:
        _deny(learned, culprit, Denial(now, "crash", f"its import ended the process: {ended}"))
    if not was_trial:
        return
    failures = 1 + (learned.trial.failures if learned.trial else 0)
    if has_passed:
        imported = [line for line in lines if isinstance(line, Imported)]
        before = learned.loaded
        learned.loaded = {
            line.module: LoadedModule(
                before[line.module].since if line.module in before else now,
                round(line.seconds, 4),
                line.memory_bytes,
                line.brings,
            )
            for line in imported
        }
        # Tasks do not report what they find loaded: only what they still import stays among the seen.
        for name in list_loaded(lines):
            learned.seen.pop(name, None)
        is_complete = isinstance(last, Passed) and last.is_complete
        learned.trial = TrialNote(now) if is_complete else TrialNote(now, _TOO_BUSY, failures)
    elif ended is not None:
        has_culprit = culprit is not None or any(isinstance(line, Denied) for line in lines)
        learned.trial = TrialNote(now, ended, 0 if has_culprit else failures)


def list_loaded(lines: Iterable[Line]) -> frozenset[str]:
    """Return the names that a generation has loaded beyond Airflow."""
    names: set[str] = set()
    for line in lines:
        if isinstance(line, Imported):
            names.update((line.module, *line.brings))
        elif isinstance(line, Passed):
            names.update(line.already)
    return frozenset(names)


def find_untried(learned: Learned, loaded: Container[str], now: datetime) -> list[str]:
    """Return the candidates about which the serving generation does not know."""
    return [name for name in list_candidates(learned, now) if name not in loaded]


def trial_pause_s(note: TrialNote) -> float:
    """Return how many seconds after the last trial the next one may follow; longer after some that failed for no known reason."""
    return min(INTERVAL_S * 10.0 ** min(note.failures, 9), _MOST_INTERVAL_S)


def forget_old(learned: Learned, now: datetime) -> None:
    """Drop what nobody has seen for long."""
    learned.seen = {name: each for name, each in learned.seen.items() if now - each.last_seen_at < FORGET_AFTER}
    learned.shadowed = {name: at for name, at in learned.shadowed.items() if now - at < FORGET_AFTER}


def _deny(learned: Learned, module: str, denial: Denial) -> None:
    learned.denied[module] = denial
    learned.loaded.pop(module, None)
