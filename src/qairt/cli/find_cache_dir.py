"""Which cache directories a command is about."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import RecipeError
from qairt.recipe.files import CACHES

NAME_ONE = "name one with RECIPE or --cache-dir"


def cache_dirs(recipe: str | None, cache_dir: Path | None) -> list[Path]:
    """The given cache directory, the recipe's, or all of those that `caches_here` finds.

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
    found = caches_here()
    if not found:
        raise RecipeError(f"there is no cache directory in {CACHES}/", remedy=NAME_ONE)
    return found


def caches_here() -> list[Path]:
    """The cache directories of recipes in the working directory and in the folders directly in it."""
    from qairt.engine.cache.manifest import STATE_FOLDER

    patterns = (f"{CACHES}/*/{STATE_FOLDER}", f"*/{CACHES}/*/{STATE_FOLDER}")
    return [path.parent for pattern in patterns for path in sorted(Path().glob(pattern)) if path.is_dir()]


def only_cache_dir(recipe: str | None, cache_dir: Path | None) -> Path:
    """
    Raises:
        RecipeError: nothing has run there, or there are several; names them.
    """
    found = cache_dirs(recipe, cache_dir)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise RecipeError(f"there are several cache directories in {CACHES}/: {names}", remedy=NAME_ONE)
    return found[0]
