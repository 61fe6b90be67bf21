"""`qairt migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from qairt.amounts import count
from qairt.cli.console import say, say_json, styled
from qairt.cli.options import Json, Recipe


def migrate(
    recipe: Recipe,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and leave the file as it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rewrite old keys of a recipe to their new places.

    Comments and the order of everything else stay. Where the new key is there too, it holds, and the old one goes.
    Old keys are pipeline.STAGE.… for stages.STAGE.…, and for the outputs of torch_profiler at the top of a recipe
    output.… and outputs.…: save_predictions, predictions.strip_special_tokens, visualization.enable, .max_images and
    .thumbnail_width.

    \b
    Example:
      qairt migrate recipe.yaml --dry-run
    """
    from qairt.cli.recipe_argument import find_recipe
    from qairt.recipe.migrate import migration

    made = migration(find_recipe(recipe))
    if made.keys and not dry_run:
        made.apply()
    if as_json:
        keys = [{"old": ".".join(key.old), "new": ".".join(key.new), "where": key.where} for key in made.keys]
        say_json({"file": str(made.file), "keys": keys, "written": bool(made.keys) and not dry_run})
        return
    if not made.keys:
        say(f"{made.file}: no old keys, nothing to rewrite")
        return
    for key in made.keys:
        say(str(key))
    say()
    for line in made.changed_lines():
        say(_coloured(line))
    say()
    done = f"{count(len(made.keys), 'key')} would be moved" if dry_run else f"{count(len(made.keys), 'key')} moved"
    say(f"{made.file}: {done}")


def _coloured(line: str) -> str:
    if line.startswith("+"):
        return styled(line, "green")
    return styled(line, "red") if line.startswith("-") else line
