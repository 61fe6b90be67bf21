"""A recipe as settings and stages; every fault in it is told at once."""

from __future__ import annotations

from pydantic import ValidationError

from qairt.engine.assembly import load_configs
from qairt.engine.stage import AnyStage, registered_stages
from qairt.errors import RecipeError
from qairt.recipe.faults import faults_from_pydantic
from qairt.recipe.recipe import Recipe
from qairt.recipe.settings import Settings

NPU_STAGES = ("convert", "generate_context_binary")
"""Stages that `backend: CPU` leaves out."""


def read_recipe(recipe: Recipe) -> tuple[Settings, list[AnyStage]]:
    """What a recipe says, and the stages that it lists; the files that it names are absolute in it from here on.

    Raises:
        RecipeError: names every fault with file:line and the nearest valid name.
    """
    faults: list[RecipeError] = []
    settings = None
    try:
        settings = Settings.model_validate(dict(recipe)).found_in(recipe.source.parent if recipe.source else None)
    except ValidationError as error:
        faults += faults_from_pydantic(error, recipe, (), Settings)
    if settings is not None and settings.evaluator.metrics:
        from qairt.evaluate.choice import recipe_metrics

        try:
            recipe_metrics(recipe, settings.evaluator.metrics)
        except RecipeError as error:
            faults += error.faults or [error]
    found = []
    if "stages" in recipe:
        try:
            found = load_configs(recipe, registered_stages())
        except RecipeError as error:
            faults += error.faults or [error]
    if faults or settings is None:
        raise faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=faults)
    _name_files_absolutely(recipe, settings)
    return settings, [
        stage(config) for stage, config in found if settings.backend == "HTP" or stage.name not in NPU_STAGES
    ]


def _name_files_absolutely(recipe: Recipe, settings: Settings) -> None:
    """What is kept of the recipe beside the cache must lead to the same files from anywhere."""
    from qairt.recipe.files import found_file

    stages = recipe.get("stages", {})
    quantization, export = stages.get("quantization") or {}, stages.get("export") or {}
    for place, key in (
        (recipe, "model_id_or_path"),
        (recipe, "sdk_root"),
        (quantization, "calibration_text"),
        (quantization, "recipe"),
        (export, "onnx"),
        (export, "encodings"),
    ):
        named = place.get(key)
        if isinstance(named, str):
            found = found_file(named, settings.recipe_folder)
            if found.exists():
                place[key] = str(found)
