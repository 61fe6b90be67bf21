"""The file that a recipe names under `quantization.recipe`: a technique's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qairt.errors import RecipeError
from qairt.quant.config import TechniqueConfig


def load_technique(name: str, changes: Mapping[str, Any] | None = None, beside: Path | None = None) -> TechniqueConfig:
    """Read a technique file.

    Args:
        name: a file beside the recipe, in `quantization/` beside it, or one that qairt ships (`lpbq_seqmse.yaml`).
        changes: settings that replace those of the file; `module_precisions` is merged.
        beside: the recipe's folder.

    Raises:
        RecipeError: the file does not exist, or has a wrong setting; names file and line.
    """
    from qairt.recipe.faults import faults_from_pydantic
    from qairt.recipe.files import find_nested
    from qairt.recipe.recipe import Recipe

    recipe = Recipe.from_file(find_nested(name, beside, "quantization"))
    settings: dict[str, Any] = dict(recipe)
    for key, value in (changes or {}).items():
        held = settings.get(key)
        settings[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
    try:
        return TechniqueConfig.model_validate(settings)
    except ValidationError as error:
        faults = faults_from_pydantic(error, recipe, (), TechniqueConfig)
        raise faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=faults) from error
