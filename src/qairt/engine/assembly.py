"""From a recipe's `stages` mapping to configured stages in a valid order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from qairt.engine.stage import AnyStage, PipelinePerformanceWarning, StageConfig
from qairt.errors import ContractViolation, RecipeError
from qairt.recipe.faults import faults_from_pydantic
from qairt.recipe.names import nearest
from qairt.recipe.presets import OutputPresets
from qairt.recipe.recipe import Recipe


def check_order(stages: Sequence[AnyStage], *, suppress_performance_warnings: bool = False) -> None:
    """Names are unique, every stage finds what it takes, and each agrees with its neighbours.

    Raises:
        ContractViolation: names the stage, what it misses and where that could come from.
    """
    seen: set[str] = set()
    available: set[str] = set()
    for place, stage in enumerate(stages):
        if stage.name in seen:
            raise ContractViolation("this stage stands twice in the pipeline", where=f"stages.{stage.name}")
        seen.add(stage.name)
        with warnings.catch_warnings():
            if suppress_performance_warnings:
                warnings.simplefilter("ignore", PipelinePerformanceWarning)
            stage.validate(stages[:place], stages[place + 1 :])
        for name, info in stage.input_type.model_fields.items():
            if info.is_required() and name not in available:
                makers = [other.name for other in stages[place + 1 :] if name in other.output_type.model_fields]
                raise ContractViolation(
                    f"nothing before it makes {name}",
                    where=f"stages.{stage.name}",
                    remedy=f"put {makers[0]} before {stage.name}" if makers else f"add a stage that makes {name}",
                )
        if not stage.is_side_branch:
            available |= set(stage.output_type.model_fields)


def load_configs(recipe: Recipe, known: Mapping[str, type[AnyStage]]) -> list[tuple[type[AnyStage], StageConfig]]:
    """The stages of a recipe with their settings, in its order; one that stands aside comes right after what it
    requires, wherever the recipe lists it.

    Raises:
        RecipeError: names every unknown stage and key and every wrong type, with file:line and the nearest name.
    """
    faults: list[RecipeError] = []
    found: list[tuple[type[AnyStage], StageConfig]] = []
    stages = recipe.get("stages")
    if not isinstance(stages, Mapping) or not stages:
        where = recipe.where("stages") if stages is not None else str(recipe.source or "recipe")
        raise RecipeError(
            "stages must be a mapping of stage names to their settings",
            where=where,
            remedy=f"stages qairt has: {', '.join(known)}",
        )
    presets = OutputPresets(recipe)
    for name, values in stages.items():
        stage = known.get(str(name))
        if stage is None:
            close = nearest(str(name), known)
            remedy = f"did you mean {close}?" if close else f"stages qairt has: {', '.join(known)}"
            faults.append(RecipeError(f"there is no stage {name}", where=recipe.where(("stages", name)), remedy=remedy))
            continue
        if values is not None and not isinstance(values, Mapping):
            faults.append(
                RecipeError(
                    f"stages.{name} must be a mapping",
                    where=recipe.where(("stages", name)),
                    remedy="write its settings below it, or {}",
                )
            )
            continue
        try:
            own = dict(values or {})
            own["output"] = presets.output_of(str(name), own.get("output"))
            config = stage.config_type.model_validate(own)
            presets.keep(str(name), config.output)
            found.append((stage, config))
        except ValidationError as error:
            faults += faults_from_pydantic(error, recipe, ("stages", name), stage.config_type)
        except RecipeError as error:
            faults += error.faults or [error]
    if faults:
        raise faults[0] if len(faults) == 1 else RecipeError("several faults", faults=faults)
    return _asides_in_place(found)


def _asides_in_place(
    stages: list[tuple[type[AnyStage], StageConfig]],
) -> list[tuple[type[AnyStage], StageConfig]]:
    placed = [pair for pair in stages if not pair[0].is_side_branch]
    for pair in reversed([pair for pair in stages if pair[0].is_side_branch]):
        needed = [place for place, (stage, _) in enumerate(placed, 1) if stage.name in pair[0].requires]
        placed.insert(max(needed, default=len(placed)), pair)
    return placed
