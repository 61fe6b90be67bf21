"""Which cache directories a command is about."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import RecipeError

PARENT = "qairt-cache"
"""Cache directories are below this folder unless a recipe or `--cache-dir` says otherwise."""
NAME_ONE = "name one with RECIPE or --cache-dir"


def cache_dirs(recipe: str | None, cache_dir: Path | None) -> list[Path]:
    """The given cache directory, the recipe's, or all of those below `qairt-cache/`.

    Raises:
        RecipeError: nothing has run there.
    """
    from qairt.engine.cache.manifest import STATE_FOLDER

    folder = cache_dir
    if folder is None and recipe is not None:
        from qairt.cli.find_recipe import open_pipeline

        folder = open_pipeline(recipe).cache_dir
    if folder is not None:
        if not (folder / STATE_FOLDER).is_dir():
            raise RecipeError("nothing has run in this cache directory", where=str(folder), remedy="qairt run RECIPE")
        return [folder]
    found = sorted(path.parent for path in Path(PARENT).glob(f"*/{STATE_FOLDER}") if path.is_dir())
    if not found:
        raise RecipeError(f"there is no cache directory in {PARENT}/", remedy=NAME_ONE)
    return found


def only_cache_dir(recipe: str | None, cache_dir: Path | None) -> Path:
    """
    Raises:
        RecipeError: nothing has run there, or there are several; names them.
    """
    found = cache_dirs(recipe, cache_dir)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise RecipeError(f"there are several cache directories in {PARENT}/: {names}", remedy=NAME_ONE)
    return found[0]
