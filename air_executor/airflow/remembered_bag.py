"""Has tasks take a DAG file's parse over from their template: what Airflow's task process calls to parse is answered from memory.

Airflow's own function still looks for the bundle, the DAG and the task; only the bag of DAGs is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from air_executor.airflow import sdk_compat

_MODULE = "airflow.sdk.execution_time.task_runner"
_FUNCTION = "parse"
_BAGS = (
    ("airflow.dag_processing.dagbag", "BundleDagBag"),  # 3.2 and later
    ("airflow.models.dagbag", "BundleDagBag"),  # 3.1
)


class UnknownAirflowError(Exception):
    """This version of Airflow parses in a way that is not known here; its tasks parse themselves."""


class _ParsedError(BaseException):
    """The bag was made: the rest of Airflow's function is for a task."""


class RememberedBag:
    """The bag of one DAG file."""

    def __init__(self, say_again: Callable[[], None]) -> None:
        """Remember nothing yet.

        :param say_again: called in each task that takes the bag over.
        """
        self.bag: Any = None
        self._asked: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._say_again = say_again

    def make(self, bundle_name: str, bundle_version: str | None, dag_rel_path: str, around: Callable[[], Any]) -> None:
        """Have Airflow's function make the bag.

        :param around: returns a context manager that is entered while the bag itself is made.
        :raises UnknownAirflowError: it makes none in a known way.
        """
        import structlog

        parse = sdk_compat.find(_MODULE, _FUNCTION)
        if parse is None or not any(sdk_compat.find(module, name) for module, name in _BAGS):
            raise UnknownAirflowError(f"there is no {_MODULE}.{_FUNCTION}, or no bag of DAGs")

        def make(original: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
            with around():
                self.bag = original(*arguments, **options)
            self._asked = (arguments, options)
            raise _ParsedError

        what = SimpleNamespace(
            bundle_info=SimpleNamespace(name=bundle_name, version=bundle_version),
            dag_rel_path=dag_rel_path,
            ti=SimpleNamespace(dag_id=None, task_id=None),
            ti_context=None,
        )
        try:
            with _standing_in(make):
                parse(what, structlog.get_logger(logger_name="task"))
        except _ParsedError:
            return
        raise UnknownAirflowError(f"{_MODULE}.{_FUNCTION} makes no bag of DAGs")

    def install(self) -> None:
        """Have Airflow's function take this bag over from now on, in this process and its forks."""
        original = sdk_compat.find(_MODULE, _FUNCTION)

        def parse(*arguments: Any, **options: Any) -> Any:
            with _standing_in(self._answer):
                return original(*arguments, **options)

        setattr(sys.modules[_MODULE], _FUNCTION, parse)

    def _answer(self, original: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if (arguments, options) != self._asked:
            return original(*arguments, **options)
        self._say_again()
        return self.bag


@contextmanager
def _standing_in(answer: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Have `answer` called where a bag of DAGs is asked for."""
    originals = [(module, name, original) for module, name in _BAGS if (original := _find_loaded(module, name))]
    for module, name, original in originals:

        def stand_in(*arguments: Any, original: Any = original, **options: Any) -> Any:
            return answer(original, arguments, options)

        setattr(sys.modules[module], name, stand_in)
    try:
        yield
    finally:
        for module, name, original in originals:
            setattr(sys.modules[module], name, original)


def _find_loaded(module: str, name: str) -> Any:
    # Not by importing: 3.3 has the old place only to warn.
    return vars(sys.modules[module]).get(name) if module in sys.modules else None
