"""`qairt recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qairt.cli.console import say, say_json, table
from qairt.cli.options import Json


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe instead of listing all.")] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that qairt ships, or print one.

    A shipped recipe can be named wherever a recipe file can be given.

    \b
    Examples:
      qairt recipes
      qairt recipes smollm2-135m > my-recipe.yaml
    """
    from qairt.cli.recipe_argument import find_recipe, shipped_by_name
    from qairt.recipe.files import shipped_recipes

    if name is not None:
        techniques = {path.name: path for path in (shipped_recipes() / "quantization").glob("*.yaml")}
        path = techniques.get(name) or find_recipe(name)
        say(path.read_text().rstrip("\n"))
        return
    shipped = shipped_by_name()
    techniques = {path.name: path for path in sorted((shipped_recipes() / "quantization").glob("*.yaml"))}
    if as_json:
        say_json(
            {
                "recipes": [{"name": key, "path": str(path), "about": about(path)} for key, path in shipped.items()],
                "quantization": [
                    {"name": key, "path": str(path), "about": about(path)} for key, path in techniques.items()
                ],
            }
        )
        return
    for line in table([(key, about(path)) for key, path in shipped.items()], header=("recipe", "what it does")):
        say(line)
    say()
    rows = [(key, about(path)) for key, path in techniques.items()]
    for line in table(rows, header=("technique", "for stages.quantization.recipe")):
        say(line)


def about(path: Path) -> str:
    """The comment at the top of a recipe, as one sentence after the other."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)
