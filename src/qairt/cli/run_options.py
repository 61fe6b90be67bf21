"""Command-line options of everything that starts a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qairt.amounts import parse_size
from qairt.cli import completion

if TYPE_CHECKING:
    from qairt.engine.run.options import RunOptions

ExecutorName = Literal["process", "inline", "dask"]


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Until = Annotated[
    str | None, typer.Option(metavar="STAGE", help="Stop after this stage.", autocompletion=completion.stages)
]
Force = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STAGE",
        help="Run this stage even if it is cached; can be repeated.",
        autocompletion=completion.stages,
    ),
]
Jobs = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Items at a time.", show_default="the number of cores")
]
Memory = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=_size,
        help="RAM for all running items together, such as 8G; num_splits: auto goes by it.",
        show_default="the free RAM",
    ),
]
Disk = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=_size,
        help="What the cache directory may take on disk, such as 40G; files between the stages are deleted in time.",
        show_default="what the disk has",
    ),
]


@dataclass(frozen=True)
class Machines:
    """Where items are built."""

    executor: Annotated[
        ExecutorName,
        typer.Option(
            help="process: each item in its own process. inline: in this process, for debugging."
            " dask: on the workers of a Dask cluster."
        ),
    ] = "process"
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The cluster's scheduler, such as tcp://10.0.0.5:8786, for dask."),
    ] = None


@dataclass(frozen=True)
class RunLimits:
    """Which stages a run covers, and what it may use."""

    until: Until = None
    force: Force = None
    jobs: Jobs = None
    memory: Memory = None
    disk: Disk = None

    def options(self, machines: Machines | None = None) -> RunOptions:
        """Options of the engine; what was not given is chosen for this machine."""
        machines = machines or Machines()
        if (machines.executor == "dask") != (machines.scheduler is not None):
            raise typer.BadParameter("--executor dask and --scheduler ADDRESS belong together")
        from qairt.engine.run.options import RunOptions

        chosen = RunOptions()
        return replace(
            chosen,
            executor=machines.executor,
            scheduler=machines.scheduler or "",
            until=self.until,
            force=frozenset(self.force or ()),
            disk=self.disk,
            jobs=chosen.jobs if self.jobs is None else self.jobs,
            memory=self.memory,
        )
