"""The RECIPE argument: a path, or the name of a shipped recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.llm import LLMPipeline


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Raises:
        RecipeError: there is none of that name; says which ones qairt ships.
    """
    from qairt.recipe.names import nearest

    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.y*ml"))
        remedy = f"it holds {', '.join(inside)}" if inside else "give a .yaml file"
        raise RecipeError("this is a folder, not a recipe", where=name, remedy=remedy)
    shipped = shipped_by_name()
    if name.removesuffix(".yaml") in shipped:
        return shipped[name.removesuffix(".yaml")]
    close = nearest(path.stem, shipped)
    neighbours = {file.stem: file for file in path.parent.glob("*.y*ml")}
    beside = nearest(path.stem, neighbours)
    if beside:
        remedy = f"did you mean {neighbours[beside]}?"
    elif close:
        remedy = f"did you mean {close}, which qairt ships?"
    else:
        remedy = "`qairt recipes` lists those that qairt ships, `qairt init MODEL` writes one for your model"
    raise RecipeError("there is no such recipe", where=name, remedy=remedy)


def shipped_by_name() -> dict[str, Path]:
    """The recipes that come with qairt."""
    from qairt.recipe.files import shipped_recipes

    return {path.stem: path for path in sorted(shipped_recipes().glob("*.yaml"))}


def open_pipeline(recipe: str, overrides: Sequence[str] | None = None, cache_dir: Path | None = None) -> LLMPipeline:
    """The pipeline of a recipe, with overrides from the command line.

    Raises:
        RecipeError: names every fault with its place and the nearest valid name.
        ContractViolation: the stages are in an order that cannot work.
    """
    path = find_recipe(recipe)
    from qairt.llm import LLMPipeline

    return LLMPipeline.from_recipe(path, overrides or (), cache_dir=cache_dir)
