"""Command-line options of everything that starts a run."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import parse_size

if TYPE_CHECKING:
    from qairt.engine.run.options import RunOptions


class ExecutorName(StrEnum):
    process = "process"
    inline = "inline"


def _memory(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Until = Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")]


Force = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE", help="Run this stage though it is cached; can be given several times."),
]


Jobs = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Items at once; as many as there are cores when left out.")
]


Memory = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=_memory,
        help="RAM that running items may use together, such as 8G; what is free when left out.",
    ),
]


def make_options(
    *,
    until: str | None = None,
    force: list[str] | None = None,
    jobs: int | None = None,
    memory: int | None = None,
    executor: ExecutorName = ExecutorName.process,
) -> RunOptions:
    """How to run, from the options of a command; what was left out is as the machine allows."""
    from qairt.engine.run.options import RunOptions

    given = {"jobs": jobs, "memory": memory}
    return RunOptions(
        executor=executor.value,
        until=until,
        force=frozenset(force or ()),
        **{name: value for name, value in given.items() if value is not None},
    )
