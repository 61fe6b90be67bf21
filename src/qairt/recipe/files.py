"""Recipe files that a recipe names, and those that come with qairt."""

from __future__ import annotations

import os
from pathlib import Path

from qairt.errors import RecipeError
from qairt.recipe.names import nearest


def shipped_recipes() -> Path:
    """The folder of recipes that come with qairt: in the package, or at the top of a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def find_nested(name: str, beside: Path | None, folder: str) -> Path:
    """A file that a recipe names.

    Args:
        name: a path; a relative one is looked up beside the recipe, in `folder` beside it, then among the shipped.
        beside: the recipe's folder; None for a recipe that was not read from a file: the working directory.
        folder: what such files are kept in, such as `quantization`.

    Raises:
        RecipeError: it is in none of them; says where it was looked for and what there is.
    """
    path = Path(os.path.expanduser(name))  # leaves a user it does not know as it is
    home = beside or Path()
    folders = [path.parent] if path.is_absolute() else [home, home / folder, shipped_recipes() / folder]
    places = [path] if path.is_absolute() else [place / path for place in folders]
    for place in places:
        if os.path.isfile(place):  # also of a name no file system takes
            return place.absolute()
    there = list(dict.fromkeys(file.name for place in places for file in sorted(place.parent.glob("*.y*ml"))))
    shipped = sorted(file.name for file in (shipped_recipes() / folder).glob("*.y*ml"))
    close = nearest(path.name, [*shipped, *there])
    raise RecipeError(
        f"{name} does not exist",
        where=", ".join(str(place) for place in folders),
        remedy=f"did you mean {close}?" if close else f"qairt ships {', '.join(shipped) or 'none'}",
    )


def found_file(name: Path | str, folder: Path | None) -> Path:
    """A file by the name a recipe in `folder` gives it: from the working directory, else from `folder`."""
    given = Path(name).expanduser()
    if given.is_absolute() or given.exists() or folder is None:
        return given.absolute()
    beside = folder / given
    return beside.absolute() if beside.exists() else given.absolute()
