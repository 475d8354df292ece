"""`@task.air_executor`: the function returns the tasks of a job, or is the job's first task, which discovers the others."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from air_executor.airflow.operators import AirExecutorJobOperator
from air_executor.airflow.sdk_compat import determine_kwargs
from air_executor.errors import InvalidJobError

if TYPE_CHECKING:
    from airflow.sdk import Context

DISCOVERY_TASK_ID = "discover"
_DISCOVERY_MODULE = "air_executor.airflow.discovery_task"


class _AirExecutorDecoratedOperator(DecoratedOperator, AirExecutorJobOperator):
    """Runs the function for the tasks of a job, or as its discovery task; then does as `AirExecutorJobOperator`.

    :param discovers: the function itself runs inside the job, as its first task, and queues the others with
        `air_executor.queue_tasks`; what it returns is its result. Its source alone is taken along: it imports what it needs.
    :param python: interpreter for a function that discovers; by default the one of the worker.
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *AirExecutorJobOperator.template_fields)
    template_fields_renderers = {  # noqa: RUF012 # Airflow's convention
        **DecoratedOperator.template_fields_renderers,
        **AirExecutorJobOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.air_executor"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        discovers: bool = False,
        python: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.discovers = discovers
        self.python = python
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            tasks=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Find the tasks, submit the job, and wait for it."""
        given = {**context, **self.op_kwargs}
        kwargs = determine_kwargs(self.python_callable, self.op_args, given)
        if self.discovers:
            attachments = self._make_discovery(kwargs)
            return self._wait(context, self._hand_over(context, attachments))
        self.tasks = self.python_callable(*self.op_args, **kwargs)
        self.render_template_fields(context)
        return self._wait(context, self._hand_over(context))

    def _make_discovery(self, kwargs: Mapping[str, Any]) -> dict[str, bytes]:
        """Make the function the job's only task, and return the files that it is run from."""
        try:
            arguments = msgspec.json.encode({"args": list(self.op_args), "kwargs": dict(kwargs)})
        except (TypeError, ValueError) as error:
            raise InvalidJobError(
                f"the arguments of {self.python_callable.__name__} do not fit into JSON ({error}); a function that "
                "discovers runs in another process: give it values, not the context"
            ) from error
        script = _make_script(self.python_callable)
        stem = f"discover-{hashlib.sha256(script + arguments).hexdigest()[:12]}"
        words = ("-m", _DISCOVERY_MODULE, stem, self.python_callable.__name__)
        self.tasks = [{"id": DISCOVERY_TASK_ID, "command": self.python or sys.executable, "args": list(words)}]
        return {f"{stem}.py": script, f"{stem}.json": arguments}


def _make_script(function: Callable[..., Any]) -> bytes:
    """Return the source of a function alone, without its decorators.

    :raises InvalidJobError: it has none, or is no `def`.
    """
    try:
        module = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError) as error:
        raise InvalidJobError(f"{function!r} cannot discover tasks: its source cannot be read ({error})") from error
    (definition,) = module.body
    if not isinstance(definition, ast.FunctionDef):
        raise InvalidJobError(f"{function!r} cannot discover tasks: it must be a function made by `def`")
    definition.decorator_list.clear()
    # The file that it comes from may say so too: annotations then need not mean anything here.
    return f"from __future__ import annotations\n\n{ast.unparse(module)}\n".encode()


def air_executor_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Wrap a function into an operator that hands a job over; `kwargs` are the operator's."""
    # What the function says that it returns is not what the task returns.
    kwargs.setdefault("multiple_outputs", False)
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_AirExecutorDecoratedOperator, **kwargs
    )
