"""Commands whose options come in groups: a parameter that is a dataclass stands for one option per field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from inspect import Parameter
from typing import get_type_hints

import typer

Command = Callable[..., None]


@dataclass(frozen=True)
class _Group:
    """A dataclass parameter and the names of its fields."""

    name: str
    build: type
    fields: tuple[str, ...]


def flattened(function: Command) -> Command:
    """`function` as Typer needs it: each dataclass parameter replaced by parameters for its fields, in their order.

    A field is annotated as a Typer parameter is, `Annotated[bool, typer.Option(…)]`; its default is the option's.
    """
    parameters: list[Parameter] = []
    groups: list[_Group] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            own = _parameters(kind)
            groups.append(_Group(parameter.name, kind, tuple(each.name for each in own)))
            parameters += own
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    def command(**values: object) -> None:
        for group in groups:
            values[group.name] = group.build(**{name: values.pop(name) for name in group.fields})
        function(**values)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def add_command(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Decorator: register a function with grouped options as the command `name` of `app`."""

    def register(function: Command) -> Command:
        app.command(name)(flattened(function))
        return function

    return register


def _parameters(group: type) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
