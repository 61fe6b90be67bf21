"""Options in groups: what Typer sees of a function, and what the function gets."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from qairt.cli.signature import add_command, flattened


@dataclass(frozen=True)
class Size:
    """A group with a required argument."""

    width: Annotated[int, typer.Argument(help="Columns.")]
    height: Annotated[int, typer.Option("--height", "-y", help="Lines.")] = 3


def draw(size: Size, *, quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False) -> None:
    """Draw a box."""
    if not quiet:
        print(size)


def test_fields_stand_in_their_groups_place():
    function = flattened(draw)
    assert list(inspect.signature(function).parameters) == ["width", "height", "quiet"]
    assert function.__doc__ == draw.__doc__


def test_the_function_gets_the_group():
    app = typer.Typer(add_completion=False)
    assert add_command(app, "draw")(draw) is draw
    run = CliRunner().invoke
    assert run(app, ["5"]).output == "Size(width=5, height=3)\n"
    assert run(app, ["5", "-y", "9"]).output == "Size(width=5, height=9)\n"
    assert run(app, ["5", "--quiet"]).output == ""
    assert run(app, []).exit_code == 2
