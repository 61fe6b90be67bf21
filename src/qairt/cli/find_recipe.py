"""The RECIPE argument: a path, or the name of a recipe that comes with qairt."""

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
        RecipeError: there is none of that name; names the nearest one.
    """
    from qairt.recipe.names import nearest

    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.y*ml"))
        remedy = f"it contains {', '.join(inside)}" if inside else "give a .yaml file"
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
        remedy = f"did you mean {close}, which comes with qairt?"
    else:
        remedy = "`qairt recipes` lists those that come with qairt, `qairt init MODEL` writes one for your model"
    raise RecipeError("there is no such recipe", where=name, remedy=remedy)


def is_recipe(word: str) -> bool:
    """Whether a word means a recipe where it could also be a stage: a YAML file, or the name of one that ships."""
    return word.endswith((".yaml", ".yml")) or Path(word).is_file() or word in shipped_by_name()


def shipped_by_name() -> dict[str, Path]:
    """The recipes that come with qairt."""
    from qairt.recipe.files import shipped_recipes

    return {path.stem: path for path in sorted(shipped_recipes().glob("*.yaml"))}


def open_pipeline(recipe: str, overrides: Sequence[str] | None = None, cache_dir: Path | None = None) -> LLMPipeline:
    """The pipeline of a recipe, with overrides from the command line.

    Raises:
        RecipeError: lists every fault with its line and the nearest valid name.
        ContractViolation: the order of the stages cannot work.
    """
    path = find_recipe(recipe)
    from qairt.llm import LLMPipeline

    return LLMPipeline.from_recipe(path, overrides or (), cache_dir=cache_dir)
