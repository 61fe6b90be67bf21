"""The file named by `stages.quantization.recipe`: the settings of a quantization technique."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from qairt.quant.config import TechniqueConfig

CHANGES = "stages.quantization.technique"
"""Where a recipe changes settings of the file."""


def load_technique(path: Path, changes: Mapping[str, object] | None = None) -> TechniqueConfig:
    """Read a technique file.

    Args:
        changes: settings that replace those of the file; mappings are merged, but for `auto_precision`, which has one
            target.

    Raises:
        RecipeError: the file does not exist, or has a wrong setting; names file and line.
    """
    from qairt.recipe.faults import combined, faults_from_pydantic
    from qairt.recipe.recipe import Recipe

    recipe = Recipe.from_file(path)
    for key, value in (changes or {}).items():
        if isinstance(recipe.get(key), Mapping) and isinstance(value, Mapping) and key != "auto_precision":
            for inner, setting in value.items():
                recipe.mount((key, str(inner)), setting, CHANGES)
        else:
            recipe.mount((key,), value, CHANGES)
    try:
        return TechniqueConfig.model_validate(dict(recipe))
    except ValidationError as error:
        raise combined(faults_from_pydantic(error, recipe, (), TechniqueConfig, whole="a technique")) from error
