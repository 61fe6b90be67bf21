"""`qairt recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

from qairt.cli import completion
from qairt.cli.console import emit, emit_json, table
from qairt.cli.options import Json
from qairt.files import read_text


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Print this recipe or technique.",
            show_default=False,
            autocompletion=completion.shipped,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that come with qairt, or print one.

    Their names can be used wherever a recipe file is expected.

    \b
    Examples:
      qairt recipes
      qairt recipes smollm2-135m > my-recipe.yaml
    """
    from qairt.recipe.files import shipped_recipes
    from qairt.recipe.find import description_of, find_recipe, shipped_by_name

    if name is not None:
        techniques = {path.name: path for path in (shipped_recipes() / "quantization").glob("*.yaml")}
        path = techniques.get(name) or find_recipe(name)
        emit(read_text(path).rstrip("\n"))
        return
    shipped = shipped_by_name()
    techniques = {path.name: path for path in sorted((shipped_recipes() / "quantization").glob("*.yaml"))}
    if as_json:
        kinds = {"recipes": shipped, "quantization": techniques}
        emit_json(
            {
                kind: [{"name": key, "path": str(path), "about": description_of(path)} for key, path in found.items()]
                for kind, found in kinds.items()
            }
        )
        return
    rows = [(key, description_of(path)) for key, path in shipped.items()]
    for line in table(rows, header=("recipe", "what it does")):
        emit(line)
    emit()
    rows = [(key, description_of(path)) for key, path in techniques.items()]
    for line in table(rows, header=("technique", "for stages.quantization.recipe")):
        emit(line)
