"""A recipe by its path, or by the name of one that comes with qairt."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import RecipeError
from qairt.files import expanded, read_text
from qairt.recipe.files import shipped_recipes
from qairt.recipe.names import nearest


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Raises:
        RecipeError: there is none of that name; names the nearest one.
    """
    try:
        path = expanded(name)
    except ValueError as error:
        raise RecipeError(str(error), where=name, remedy="give the path of a recipe") from error
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


def shipped_by_name() -> dict[str, Path]:
    """The recipes that come with qairt."""
    return {path.stem: path for path in sorted(shipped_recipes().glob("*.yaml"))}


def description_of(path: Path) -> str:
    """The comment at the top of a recipe or technique as one paragraph."""
    lines = []
    for line in read_text(path).splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)
