"""`qairt export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qairt.amounts import count, size
from qairt.cli.console import say, say_json
from qairt.cli.options import CacheDir, Json, Recipe


def export(
    recipe: Recipe,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; must be new or empty.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="The overrides of the run, if it had any.", show_default=False),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Copy the finished bundle to a folder.

    It is everything a device needs. The copy shares nothing with the cache, and is
    compared with its checksums (SHA256SUMS).

    \b
    Example:
      qairt export recipe.yaml bundle/ && adb push bundle /data/local/tmp/
    """
    from qairt.cli.recipe_argument import open_pipeline

    files = open_pipeline(recipe, overrides, cache_dir).export(directory)
    total = sum(path.stat().st_size for path in files)
    if as_json:
        say_json({"directory": str(directory.absolute()), "files": [str(path) for path in files], "bytes": total})
        return
    say(f"{directory}: {count(len(files), 'file')}, {size(total)}")
