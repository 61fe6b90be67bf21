"""Models of what people write in files and on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class SettingsModel(BaseModel):
    """Settings: unknown keys, infinite numbers, and `true` or `false` in place of a number are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_flags(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would read `true` as 1."""
        if info.field_name is not None and _holds_flag(value):
            kinds = _kinds(cls, info.field_name)
            if kinds <= {int, float, str, type(None)} and kinds & {int, float}:
                number = "a number" if float in kinds else "an integer"
                raise PydanticCustomError("number_type", "Input should be {number}", {"number": number})
        return value


def _holds_flag(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_flag, value.values()))
    return any(map(_holds_flag, value)) if isinstance(value, (list, tuple)) else isinstance(value, bool)


@cache
def _kinds(model: type[BaseModel], field: str) -> frozenset[object]:
    """The types that a field's annotation is made of, but for those of keys."""
    return frozenset(_leaves(model.model_fields[field].annotation))


def _leaves(annotation: object) -> Iterator[object]:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from map(type, arguments)
    elif get_origin(annotation) is dict:
        yield from _leaves(arguments[1])
    elif hasattr(annotation, "__metadata__"):
        yield from _leaves(arguments[0])
    elif arguments:
        for argument in arguments:
            yield from _leaves(argument)
    else:
        yield annotation
