"""A recipe as settings and stages; every fault in it is reported at once."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from qairt.engine.assembly import load_configs
from qairt.engine.setting_names import setting_names
from qairt.engine.stage import AnyStage, registered_stages
from qairt.errors import RecipeError
from qairt.recipe.faults import combined, faults_from_pydantic
from qairt.recipe.file_settings import make_files_absolute
from qairt.recipe.recipe import Recipe
from qairt.recipe.settings import RecipeSettings
from qairt.stages.lora_adapters import LoraAdapters

NPU_STAGES = ("convert", "generate_context_binary")
"""Stages that `backend: CPU` leaves out."""


def read_recipe(recipe: Recipe) -> tuple[RecipeSettings, list[AnyStage]]:
    """The recipe's settings and stages. The files that it names are made absolute in it.

    Raises:
        RecipeError: names every fault with file:line and the nearest valid name.
    """
    faults: list[RecipeError] = []
    settings = None
    try:
        make_files_absolute(recipe, (), RecipeSettings)
        _make_metric_files_absolute(recipe)
    except RecipeError as error:
        faults += error.faults or [error]
    try:
        settings = RecipeSettings.model_validate(dict(recipe)).with_missing_files(recipe.missing_files)
    except ValidationError as error:
        found = faults_from_pydantic(error, recipe, (), RecipeSettings, setting_names(recipe, registered_stages()))
        faults += [_as_missing(fault, recipe) for fault in found]
    if settings is not None and settings.evaluator.metrics:
        from qairt.evaluate.choice import recipe_metrics

        try:
            recipe_metrics(recipe, settings.evaluator.metrics)
        except RecipeError as error:
            faults += error.faults or [error]
    if settings is not None and settings.lora and settings.lora.adapters and "model_loading" not in settings.stages:
        what = "lora: adapters are applied to the model that model_loading reads, and the recipe has no such stage"
        remedy = "add model_loading and quantization, or merge the adapter into the model before it is exported"
        faults.append(RecipeError(what, where=recipe.where("lora"), remedy=remedy))
    configured = []
    if "stages" in recipe:
        try:
            configured = load_configs(recipe, registered_stages())
        except RecipeError as error:
            faults += error.faults or [error]
    if faults or settings is None:
        raise combined(faults)
    stages = [
        stage(config) for stage, config in configured if settings.backend == "HTP" or stage.name not in NPU_STAGES
    ]
    return settings, _with_adapters(settings, stages)


def _with_adapters(settings: RecipeSettings, stages: list[AnyStage]) -> list[AnyStage]:
    """The stages, with the one of LoRA adapters where they are used, last or before the bundle."""
    names = [stage.name for stage in stages]
    wanted = settings.lora is not None and settings.lora.concurrencies and "quantization" in names
    if not wanted or LoraAdapters.name in names:
        return stages
    place = names.index("export_bundle") if "export_bundle" in names else len(names)
    return [*stages[:place], LoraAdapters(), *stages[place:]]


def _as_missing(fault: RecipeError, recipe: Recipe) -> RecipeError:
    """A fault of a path that does not exist, as what was looked for and where."""
    for setting, missing in recipe.missing_files.items():
        if fault.what.startswith(f"{setting}: "):
            return recipe.located(missing)
    return fault


def _make_metric_files_absolute(recipe: Recipe) -> None:
    """The type of a metric's arguments depends on its name."""
    entries = recipe.at(("evaluator", "metrics"))
    for index, entry in enumerate(entries) if isinstance(entries, list) else ():
        from qairt.evaluate.registry import registered_metrics

        metric = registered_metrics().get(str(entry.get("name"))) if isinstance(entry, Mapping) else None
        if metric is not None:
            make_files_absolute(recipe, ("evaluator", "metrics", str(index)), metric)
