"""`qairt export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qairt.amounts import count, size
from qairt.cli.console import say, say_json
from qairt.cli.options import CacheDir, Json, Recipe


class FormatName(StrEnum):
    genie = "genie"
    ort = "ort"


def export(
    recipe: Recipe,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; must be new or empty.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="The overrides of the run, if it had any.", show_default=False),
    ] = None,
    form: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            help="genie: for Genie of the QAIRT SDK, on Android and Linux. ort: for onnxruntime-genai, with public"
            " packages. Left out: what the recipe says, else genie (ort with backend CPU).",
            show_default=False,
        ),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Put the finished bundle into a folder, for either runtime.

    It is everything a device needs of the model. It shares nothing with the cache, and is compared with its checksums
    (SHA256SUMS). Nothing is run again for the other format.

    \b
    Examples:
      qairt export recipe.yaml bundle/ && qairt bundle check bundle/
      qairt export recipe.yaml bundle-ort/ --format ort
    """
    from qairt.cli.recipe_argument import open_pipeline

    files = open_pipeline(recipe, overrides, cache_dir).export(directory, None if form is None else form.value)
    total = sum(path.stat().st_size for path in files)
    if as_json:
        say_json({"directory": str(directory.absolute()), "files": [str(path) for path in files], "bytes": total})
        return
    say(f"{directory}: {count(len(files), 'file')}, {size(total)}")
