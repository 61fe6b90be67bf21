"""The file named by `stages.quantization.recipe`: the settings of a quantization technique."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from qairt.errors import QuantizationError
from qairt.quant.config import CUSTOM, TechniqueConfig

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig
    from qairt.recipe.recipe import Recipe

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

    recipe = _changed_file(path, changes or {})
    try:
        return TechniqueConfig.model_validate(dict(recipe))
    except ValidationError as error:
        raise combined(faults_from_pydantic(error, recipe, (), TechniqueConfig, whole="a technique")) from error


def check_technique(path: Path, changes: Mapping[str, object], decoder: DecoderConfig) -> None:
    """Check whether a technique can quantize a decoder.

    Args:
        path, changes: as `load_technique` reads them.

    Raises:
        QuantizationError: it cannot, or a pattern matches none of its linears; names file, line and setting.
    """
    from qairt.quant.precisions import linear_bits

    technique = load_technique(path, changes)
    try:
        technique.check(decoder)
        linear_bits(technique.module_precisions, technique.bits, decoder)
    except QuantizationError as error:
        where = _changed_file(path, changes).where(_setting_of(error))
        raise QuantizationError(f"{error.where}: {error.what}", where=where, remedy=error.remedy) from error


def _setting_of(error: QuantizationError) -> tuple[str, ...]:
    """The path of the setting that is at fault; only block sizes are refused for the sake of a weight."""
    place = error.where or ""
    if place.startswith(f"{CUSTOM}."):
        return (*CUSTOM.split("."), place.removeprefix(f"{CUSTOM}."))
    if place == "R1":
        return ("rotation",)
    setting = tuple(place.partition(":")[0].split("."))
    return setting if setting[0] in TechniqueConfig.model_fields else ("block_size",)


def _changed_file(path: Path, changes: Mapping[str, object]) -> Recipe:
    from qairt.recipe.recipe import Recipe

    recipe = Recipe.from_file(path)
    for key, value in changes.items():
        if isinstance(recipe.get(key), Mapping) and isinstance(value, Mapping) and key != "auto_precision":
            for inner, setting in value.items():
                recipe.mount((key, str(inner)), setting, CHANGES)
        else:
            recipe.mount((key,), value, CHANGES)
    return recipe
