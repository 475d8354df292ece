"""What a generation of the warm parent loads beyond Airflow: modules that tasks were seen importing, each tried first or known to be good."""

from __future__ import annotations

import fnmatch
import functools
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from air_executor.airflow.importing import ForkError, ImportCost, Threads, import_watched, look_at_threads
from air_executor.airflow.installed import InstalledPackages, find_distributions, find_origin
from air_executor.airflow.process_state import Objection
from air_executor.airflow.scouting import ScoutLimits, scout
from air_executor.core import preload
from air_executor.core.preload import Began, Denial, Denied, Imported, Importing, Learned, Passed
from air_executor.store.learned import LearnedFiles, RecordWriter
from air_executor.store.records import utc_now

_ALARM_S = 120
"""Longest import in the warm parent itself: SIGALRM then ends it, whatever it hangs in."""
_TRIAL_CPU_S = 180.0


@dataclass(frozen=True)
class LearnedPolicy:
    """What the options say about learned preload."""

    allow: tuple[str, ...] = ()
    """Globs; where there are any, only modules that match one are loaded."""
    deny: tuple[str, ...] = ()
    memory_limit_bytes: int | None = None
    scout_limits: ScoutLimits = field(default_factory=ScoutLimits)

    def permits(self, module: str) -> bool:
        """Claim that the lists do not speak against a module; what they say of a package goes for all in it."""
        return self.allows_with_others(module) and (not self.allow or _matches(module, self.allow))

    def allows_with_others(self, module: str) -> bool:
        """Claim that a module may come with one that is loaded."""
        return not _matches(module, self.deny)


def _matches(module: str, globs: tuple[str, ...]) -> bool:
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs for name in names)


class LearnedModules:
    """Loads the learned modules of one generation and writes its record."""

    def __init__(
        self,
        files: LearnedFiles,
        generation: str,
        policy: LearnedPolicy,
        packages: InstalledPackages,
        fingerprint: str,
        shadows: frozenset[str] = frozenset(),
    ) -> None:
        """Begin the record.

        :param shadows: names of modules in DAG folders: what has such a name is not loaded.
        :raises OSError: it could not be written.
        """
        self._policy = policy
        self._packages = packages
        self._fingerprint = fingerprint
        self._record = RecordWriter(files.record(generation))
        self._record.write(Began(fingerprint))
        self._learned: Learned = files.read() or Learned(sys.executable)
        preload.renew(self._learned, fingerprint, utc_now())
        self._memory_bytes = 0
        self._already: tuple[str, ...] = ()
        self._is_complete = True
        self._shadows = shadows

    def load_verified(self) -> None:
        """Load what has passed a trial of the same interpreter, packages and configuration."""
        for module in preload.list_verified(self._learned, self._fingerprint, utc_now()):
            names = (module, *self._learned.loaded[module].brings)
            # A module of that name may have come into a DAG folder.
            is_free = not any(self._judge_name(name) for name in names)
            if is_free and module not in sys.modules and self._policy.permits(module):
                self._load(module)

    def try_candidates(self) -> None:
        """Have scouts try what tasks import, and load what passes.

        :raises SystemExit: something passed its scout but not here: this process cannot be used.
        """
        candidates = preload.list_candidates(self._learned, utc_now())
        self._already = tuple(name for name in candidates if name in sys.modules)
        left = list(self._choose(candidates))
        gives_up_at = _read_cpu_s() + _TRIAL_CPU_S
        while left := [name for name in left if name not in sys.modules]:
            if _read_cpu_s() > gives_up_at:
                for name in left:
                    self._deny(name, Objection("time", "the time of the trial was over before its turn came"))
                return
            findings = scout(left, self._policy.scout_limits, self._judge)
            if not findings:
                # It did not come to the first of them: a fork of a fork does not work here.
                self._is_complete = False
                return
            for finding in findings:
                result = finding.result
                if isinstance(result, Objection):
                    self._deny(finding.module, result)
                elif not isinstance(result, ImportCost):
                    # Nothing is held against it: a later trial finds more time.
                    self._is_complete = False
                    return
                elif self._fits(finding.module, result):
                    self._load(finding.module)
                else:
                    # What follows may have been tried with it, and would bring it.
                    break
            left = [name for name in left if preload.why_not(self._learned, name) is None]

    def pass_on(self, *, is_learning: bool = True) -> None:
        """Write that all is well: nothing is loaded after this."""
        self._record.write(Passed(is_learning, self._already, self._is_complete))
        self._record.close()

    def known_names(self) -> frozenset[str]:
        """Return the names of which tasks need not report anything more."""
        denied = {name for name in self._learned.seen if preload.why_not(self._learned, name) is not None}
        return frozenset(denied | self._learned.denied.keys() | self._learned.shadowed.keys())

    def _choose(self, candidates: list[str]) -> Iterator[str]:
        names = {name.partition(".")[0] for name in candidates}
        distributions = find_distributions(names) if candidates else {}
        for module in candidates:
            if module in sys.modules:
                continue
            objection = self._find_objection(module, distributions)
            if objection is None:
                yield module
            else:
                self._deny(module, objection)

    def _find_objection(self, module: str, distributions: dict[str, list[str]]) -> Objection | None:
        if not self._policy.permits(module):
            return Objection("option", "the options preload_allow and preload_deny rule it out")
        name = module.partition(".")[0]
        if name not in distributions and name not in sys.stdlib_module_names:
            return Objection("origin", "it belongs to no installed distribution, so that it may change unseen")
        return self._judge_name(module)

    def _judge(self, names: Sequence[str]) -> Objection | None:
        """Judge a module that was imported, and what came with it."""
        for number, name in enumerate(names):
            objection = self._judge_name(name) or self._judge_origin(name)
            if number and objection is None and not self._policy.allows_with_others(name):
                objection = Objection("option", "which the option preload_deny rules out")
            if objection is not None:
                return Objection(objection.cause, f"it imports {name}: {objection.reason}") if number else objection
        return None

    def _judge_name(self, name: str) -> Objection | None:
        shadow = preload.covers(self._shadows, name)
        if shadow is not None:
            return Objection("shadowed", f"a DAG folder has a module of the same name ({shadow})")
        reason = preload.why_not(self._learned, name)
        return Objection("denied", reason) if reason is not None else None

    def _judge_origin(self, name: str) -> Objection | None:
        origin = find_origin(name, sys.modules.get(name))
        if origin is None or self._packages.holds(origin):
            return None
        return Objection("origin", f"{origin} is not in an installed package, so that it may change unseen")

    def _fits(self, module: str, cost: ImportCost) -> bool:
        limit = self._policy.memory_limit_bytes
        if limit is None or self._memory_bytes + cost.memory_bytes <= limit:
            return True
        self._deny(
            module,
            Objection(
                "memory",
                f"it takes {_show_size(cost.memory_bytes)}, and {_show_size(max(limit - self._memory_bytes, 0))} "
                f"of preload_memory_limit ({_show_size(limit)}) are left",
            ),
        )
        return False

    def _load(self, module: str) -> None:
        """Import a module here. What did not show before ends this process, before it has served anybody."""
        # First: that this process cannot fork is not this module's doing.
        threads = self._threads
        self._record.write(Importing(module))
        # The default action needs no Python to run; whatever it hangs in, it ends.
        signal.alarm(_ALARM_S)
        try:
            result = import_watched(module, self._judge, threads)
        finally:
            signal.alarm(0)
        if isinstance(result, Objection):
            self._deny(module, result)
            raise SystemExit(f"warm parent: {module} cannot be loaded ahead of tasks: {result.reason}")
        self._memory_bytes += result.memory_bytes
        self._record.write(Imported(module, round(result.seconds, 4), result.memory_bytes, result.brings))

    @functools.cached_property
    def _threads(self) -> Threads:
        """Those of before the first import."""
        try:
            return look_at_threads()
        except ForkError as error:
            raise SystemExit(f"warm parent: it cannot fork: {error}") from None

    def _deny(self, module: str, objection: Objection) -> None:
        self._record.write(Denied(module, objection.cause, objection.reason))
        self._learned.denied[module] = Denial(utc_now(), objection.cause, objection.reason)


def _read_cpu_s() -> float:
    """Return the CPU time of this process and of the scouts that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _show_size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
