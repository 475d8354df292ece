"""Our answers as models that FastAPI can describe in its OpenAPI document; nothing is validated by them."""

from __future__ import annotations

import functools
import types
import typing
from typing import Any

import msgspec
from pydantic import BaseModel, create_model

from air_executor.client import TaskView
from air_executor.web.answers import HIDDEN_FIELDS


@functools.cache
def model_of(kind: type[msgspec.Struct]) -> type[BaseModel]:
    """Return a model with the fields of a struct, the structs in them included."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if issubclass(kind, TaskView) and field.name in HIDDEN_FIELDS:
            continue
        described = _described(field.type)
        fields[field.encode_name] = (described, ...) if field.required else (described, None)
    return create_model(kind.__name__, __doc__=kind.__doc__, **fields)


def _described(kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return model_of(kind)
    if origin is typing.Annotated:
        return _described(arguments[0])
    if origin in (typing.Union, types.UnionType):
        kept = [_described(each) for each in arguments if each is not msgspec.UnsetType]
        return typing.Union[tuple(kept)]  # noqa: UP007 # made at run time
    if origin in (list, tuple, dict):
        return origin[tuple(each if each is ... else _described(each) for each in arguments)]
    return kind
