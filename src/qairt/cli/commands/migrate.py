"""`qairt migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from qairt.amounts import count
from qairt.cli.console import emit, emit_json, styled
from qairt.cli.options import Json, Recipe


def migrate(
    recipe: Recipe,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change without writing it.")] = False,
    as_json: Json = False,
) -> None:
    """Replace a recipe's old keys by the current ones.

    Comments and the order of the other keys stay. If a recipe has both keys, the current one wins and the old one is
    removed. Old keys are pipeline.STAGE.… (now stages.STAGE.…) and the top-level output.… and outputs.… of
    torch_profiler: save_predictions, predictions.strip_special_tokens, visualization.enable, .max_images and
    .thumbnail_width.

    \b
    Example:
      qairt migrate recipe.yaml --dry-run
    """
    from qairt.recipe.find import find_recipe
    from qairt.recipe.migrate import migration

    found = migration(find_recipe(recipe))
    if found.keys and not dry_run:
        found.apply()
    if as_json:
        keys = [{"old": ".".join(key.old), "new": ".".join(key.new), "where": key.where} for key in found.keys]
        emit_json({"file": str(found.file), "keys": keys, "written": bool(found.keys) and not dry_run})
        return
    if not found.keys:
        emit(f"{found.file}: no old keys, nothing to rewrite")
        return
    for key in found.keys:
        emit(str(key))
    emit()
    for line in found.changed_lines():
        emit(_coloured(line))
    emit()
    done = f"{count(len(found.keys), 'key')} would be moved" if dry_run else f"{count(len(found.keys), 'key')} moved"
    emit(f"{found.file}: {done}")


def _coloured(line: str) -> str:
    if line.startswith("+"):
        return styled(line, "green")
    return styled(line, "red") if line.startswith("-") else line
