"""From a recipe's `stages` mapping to configured stages in a valid order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from qairt.engine.plan.outputs import kinds_of
from qairt.engine.setting_names import setting_names
from qairt.engine.stage import AnyStage, PipelinePerformanceWarning, StageConfig
from qairt.errors import ContractViolation, RecipeError
from qairt.recipe.faults import combined, faults_from_pydantic
from qairt.recipe.file_settings import keep_default_files, make_config_files_absolute, make_files_absolute
from qairt.recipe.names import nearest
from qairt.recipe.presets import OutputPresets
from qairt.recipe.recipe import Recipe


def check_order(stages: Sequence[AnyStage], *, suppress_performance_warnings: bool = False) -> None:
    """Check that names are unique, that every stage finds its inputs, and that each agrees with its neighbors.

    Raises:
        ContractViolation: names the stage, the missing input and the stage that could produce it.
    """
    seen: set[str] = set()
    available: set[str] = set()
    for index, stage in enumerate(stages):
        if stage.name in seen:
            raise ContractViolation("this stage is in the pipeline twice", where=f"stages.{stage.name}")
        seen.add(stage.name)
        with warnings.catch_warnings():
            if suppress_performance_warnings:
                warnings.simplefilter("ignore", PipelinePerformanceWarning)
            stage.validate(stages[:index], stages[index + 1 :])
        for name, info in stage.input_type.model_fields.items():
            if info.is_required() and name not in available:
                producers = [other.name for other in stages[index + 1 :] if name in other.output_type.model_fields]
                raise ContractViolation(
                    f"no stage before it produces {name}",
                    where=f"stages.{stage.name}",
                    remedy=f"put {producers[0]} before {stage.name}"
                    if producers
                    else f"add a stage that produces {name}",
                )
        if not stage.is_side_branch:
            available |= set(stage.output_type.model_fields)


def load_configs(recipe: Recipe, known: Mapping[str, type[AnyStage]]) -> list[tuple[type[AnyStage], StageConfig]]:
    """The stages of a recipe with their settings, in its order; a side branch comes right after what it requires,
    wherever the recipe lists it.

    Raises:
        RecipeError: names every unknown stage and key and every wrong type, with file:line and the nearest name.
    """
    faults: list[RecipeError] = []
    configured: list[tuple[type[AnyStage], StageConfig]] = []
    stages = recipe.get("stages")
    if not isinstance(stages, Mapping) or not stages:
        where = recipe.where("stages") if stages is not None else str(recipe.source or "recipe")
        raise RecipeError(
            "stages must be a mapping of stage names to their settings",
            where=where,
            remedy=f"the stages are {', '.join(known)}",
        )
    presets = OutputPresets(recipe)
    elsewhere = setting_names(recipe, known)
    for name in stages:
        try:
            stage = _known_stage(recipe, str(name), known)
            config = stage_config(recipe, presets, stage, elsewhere)
        except RecipeError as error:
            faults += error.faults or [error]
            continue
        presets.inline(str(name), config.output)
        keep_default_files(recipe, ("stages", str(name)), config)
        configured.append((stage, config))
    if faults:
        raise combined(faults)
    return _with_side_branches_placed(configured)


def stage_config(
    recipe: Recipe, presets: OutputPresets, stage: type[AnyStage], elsewhere: Sequence[str] = ()
) -> StageConfig:
    """The settings of one stage; files that it names are made absolute, in the recipe too.

    Args:
        elsewhere: dotted names of all settings, for one that is misplaced.

    Raises:
        RecipeError: names every unknown key and every wrong type.
    """
    name, config_type = stage.name, stage.config_type
    path = ("stages", name)
    values = recipe.at(path) or {}
    if not isinstance(values, Mapping):
        where = recipe.where(path)
        raise RecipeError(f"stages.{name} must be a mapping", where=where, remedy="write its settings below it, or {}")
    make_files_absolute(recipe, path, config_type)
    overrides = values.get("overrides")
    for index in range(len(overrides)) if isinstance(overrides, list) else ():
        make_files_absolute(recipe, (*path, "overrides", str(index), "set"), config_type)
    try:
        output = presets.output_of(name, values.get("output"), kinds_of(stage))
        config = config_type.model_validate({**values, **({"output": output} if output else {})})
    except ValidationError as error:
        raise combined(faults_from_pydantic(error, recipe, path, config_type, elsewhere)) from error
    faults: list[RecipeError] = []
    for index, override in enumerate(config.overrides):
        try:
            config.changed(override.set)
        except ValidationError as error:
            place = (*path, "overrides", str(index), "set")
            faults += faults_from_pydantic(error, recipe, place, config_type, elsewhere)
    if faults:
        raise combined(faults)
    make_config_files_absolute(recipe, path, config)
    return config


def _known_stage(recipe: Recipe, name: str, known: Mapping[str, type[AnyStage]]) -> type[AnyStage]:
    if name not in known:
        close = nearest(name, known)
        remedy = f"did you mean {close}?" if close else f"the stages are {', '.join(known)}"
        raise RecipeError(f"there is no stage {name}", where=recipe.where(("stages", name)), remedy=remedy)
    return known[name]


def _with_side_branches_placed(
    stages: list[tuple[type[AnyStage], StageConfig]],
) -> list[tuple[type[AnyStage], StageConfig]]:
    ordered = [pair for pair in stages if not pair[0].is_side_branch]
    for pair in reversed([pair for pair in stages if pair[0].is_side_branch]):
        after = [index for index, (stage, _) in enumerate(ordered, 1) if stage.name in pair[0].requires]
        ordered.insert(max(after, default=len(ordered)), pair)
    return ordered
