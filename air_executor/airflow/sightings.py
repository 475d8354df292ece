"""Reports what the process of a task has imported, when the task is over: a comparison of names, no hook, nothing while it runs."""

from __future__ import annotations

import functools
import mmap
import sys
from collections.abc import Callable
from typing import Any

from air_executor.airflow.installed import InstalledPackages, find_origin
from air_executor.core.preload import Report
from air_executor.store.learned import LearnedFiles

_MODULE = "airflow.sdk.execution_time.task_runner"
_FUNCTION = "main"
_MARK = "_air_executor_reports"
_SLOTS = 4096
_ENOUGH_REPORTS = 3
"""As often is the same set of names reported to one generation."""
_MOST_REPORTS = 240
"""So many reports of each kind may one generation leave: it fits into a byte."""
_MOST_NAMES = 5000
_MOST_ELSEWHERE = 200
_DAG_FILE_PREFIX = "unusual_prefix_"
"""What Airflow puts before the name of each DAG file, as a module: nothing else is called so."""


class ImportRecorder:
    """Made once in the warm parent; reports in each process of a task."""

    def __init__(
        self,
        files: LearnedFiles,
        packages: InstalledPackages,
        known: frozenset[str],
        permits: Callable[[str], bool] | None = None,
    ) -> None:
        """Change nothing yet.

        :param known: names that need no report.
        :param permits: tells which modules may be preloaded at all; all of them by default.
        """
        self._files = files
        self._packages = packages
        self._known = known
        self._permits = permits
        self._before: frozenset[str] = frozenset()
        # Shared with all forks: counts reports, the totals of both kinds in the first bytes. Two at once may miscount by one.
        self._counters = mmap.mmap(-1, _SLOTS)

    def install(self) -> bool:
        """Have each task report from now on; False where this Airflow has no place for that. Call last, and once."""
        # Not before: it imports Airflow.
        from air_executor.airflow.sdk_compat import find

        original = find(_MODULE, _FUNCTION)
        if original is None or hasattr(original, _MARK):
            return False
        setattr(sys.modules[_MODULE], _FUNCTION, self._wrap(original))
        self._before = self._known.union(sys.modules)
        return True

    def _wrap(self, original: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(original)
        def main() -> Any:
            try:
                return original()
            finally:
                try:
                    self.report()
                except Exception:
                    # Whatever it is (a full disk, no memory left): the task has done its work.
                    pass

        setattr(main, _MARK, True)
        return main

    def report(self) -> bool:
        """Report what this process has imported, unless that was said before; returns whether it did.

        :raises OSError: the report could not be written.
        """
        modules, elsewhere = self._list_new()
        names = (*modules, *elsewhere)
        if not names or not self._is_news(hash(names), has_modules=bool(modules)):
            return False
        self._files.add_report(Report(modules, elsewhere))
        return True

    def _list_new(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        before, permits = self._before, self._permits
        modules: list[str] = []
        elsewhere: list[str] = []
        for name in [name for name in list(sys.modules) if name not in before]:
            origin = find_origin(name, sys.modules.get(name))
            if origin is None:
                continue
            if not self._packages.holds(origin):
                if not name.startswith(_DAG_FILE_PREFIX):
                    elsewhere.append(name)
            elif permits is None or permits(name):
                modules.append(name)
        return tuple(modules[:_MOST_NAMES]), tuple(elsewhere[:_MOST_ELSEWHERE])

    def _is_news(self, digest: int, *, has_modules: bool) -> bool:
        counters, total, slot = self._counters, int(has_modules), 2 + digest % (_SLOTS - 2)
        # Names from elsewhere only tell what must not be loaded: once is enough.
        if counters[total] >= _MOST_REPORTS or counters[slot] >= (_ENOUGH_REPORTS if has_modules else 1):
            return False
        counters[total] += 1
        counters[slot] += 1
        return True
