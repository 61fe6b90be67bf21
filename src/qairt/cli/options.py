"""Arguments and options that several commands share, and the rule for all of them.

RECIPE is the first argument of every command: a file, or the name of a recipe that comes with qairt. A run is the
option `--run RUN`, where RUN is `142` or `llama/142`. `attach`, `logs` and `cancel`, which are about one run, also
accept RUN in place of RECIPE, and `history compare` takes its two runs as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from qairt.cli import completion
from qairt.errors import RecipeError

Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, or the name of a recipe that comes with qairt (qairt recipes).",
        autocompletion=completion.recipes,
    ),
]
RecipeOfCache = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="The recipe whose cache this is about. Left out: the cache in --cache-dir, or those in qairt-cache/.",
        show_default=False,
        autocompletion=completion.recipes,
    ),
]
HiddenRecipe = Annotated[str | None, typer.Option("--recipe", "-r", hidden=True)]
"""For scripts that still give the recipe by option; the argument is the documented form."""

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings that override the recipe's, such as stages.split_model.num_splits=3.",
        show_default=False,
        autocompletion=completion.overrides,
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", metavar="DIR", help="The cache directory, instead of the recipe's cache_dir."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

Concurrency = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="The LoRA adapters to answer with: a concurrency of the recipe, or base for none of them."
    ),
]

Strengths = Annotated[
    list[str] | None,
    typer.Option(
        "--strength",
        metavar="NAME=S",
        help="The strength of a LoRA adapter, such as french=0.5, where the graphs hold the adapters (lora.form:"
        " hot_switch). Can be repeated; the others have those of the concurrency.",
        show_default=False,
    ),
]

GenerateTarget = Literal["cpu", "torch", "htp-emulator", "genie"]
EvaluateTarget = Literal["cpu", "quantsim", "torch", "device", "ssh"]
ExecuteTarget = Literal["device", "ssh", "genie", "cpu", "htp-emulator"]


@dataclass(frozen=True)
class ActiveAdapters:
    """The LoRA adapters that a command asks for."""

    concurrency: str
    strengths: Mapping[str, float]
    """By adapter, where they are not the concurrency's."""


def active_adapters(concurrency: str, strengths: list[str] | None) -> ActiveAdapters:
    """What two options ask for; raises what `parsed_strengths` does."""
    return ActiveAdapters(concurrency, parsed_strengths(strengths))


def parsed_strengths(given: list[str] | None) -> dict[str, float]:
    """`NAME=S` as numbers, by name.

    Raises:
        RecipeError: one is not of this form.
    """
    found: dict[str, float] = {}
    for each in given or ():
        name, _, value = each.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not name or not math.isfinite(found[name]):
            raise RecipeError(
                f"{each} is not a strength", where="--strength", remedy="write NAME=0.5, an adapter and a number"
            )
    return found
