"""Which outputs for people a run writes: one unit for each stage and kind, current or not, and why not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt import keys
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.plan.output_record import OutputRecords, WrittenOutput
from qairt.engine.plan.planned import PlannedOutput, short
from qairt.engine.stage import AnyStage, Stage
from qairt.errors import RecipeError
from qairt.recipe.output_settings import KINDS, OutputKind

if TYPE_CHECKING:
    from qairt.engine.plan.planned import PlannedItem, StagePlan


def stage_directory(cache_dir: Path, stage: AnyStage) -> Path:
    """A stage's output directory, which a relative `save_dir` is below; beside the folder that it publishes, if any."""
    published = type(stage).publish is not Stage.publish
    return cache_dir / (f"{stage.name}_outputs" if published else stage.name)


def kinds_of(stage: AnyStage) -> tuple[OutputKind, ...]:
    """The kinds of output that this stage can make."""
    made = {
        "prediction": type(stage).write_predictions is not Stage.write_predictions,
        "visualization": type(stage).write_visualization is not Stage.write_visualization,
    }
    return tuple(kind for kind in KINDS if made[kind])


def wanted_kinds(stage: AnyStage) -> tuple[OutputKind, ...]:
    """Those that it can make and that are asked for."""
    return tuple(kind for kind in kinds_of(stage) if stage.config.output.wants(kind))


def planned_outputs(
    stages: Sequence[StagePlan],
    cache_dir: Path,
    model: str,
    *,
    remade: frozenset[str] = frozenset(),
) -> list[PlannedOutput]:
    """Every output that is asked for, predictions of a stage before its pictures.

    Args:
        model: the model's name, for `extra`.
        remade: items that were made in this run, though perhaps under the key they had.
    """
    records = OutputRecords(cache_dir / STATE_FOLDER).read()
    found: list[PlannedOutput] = []
    for planned in stages:
        stage = planned.stage
        predicted: PlannedOutput | None = None
        for kind in wanted_kinds(stage):
            directory = stage.config.output.folder(kind, stage_directory(cache_dir, stage))
            last = records.get(stage.name, {}).get(kind)
            settings = stage.config.output.of_model(model)
            inputs: dict[str, Any] = {
                "version": stage.output_version,
                "items": {item.label: item.key for item in planned.items},
                "extra": getattr(settings, kind).model_dump(mode="json"),
                "save_dir": str(directory),
            }
            if predicted is not None:
                inputs["predictions"] = keys.digest(predicted.inputs)
            output = PlannedOutput(
                stage=stage,
                kind=kind,
                directory=directory,
                model=settings,
                items=tuple(planned.items),
                inputs=inputs,
                reason=_reason(stage.name, last, inputs, planned.items, remade, predicted),
                predictions=predicted.directory if predicted else None,
            )
            predicted = output if kind == "prediction" else predicted
            found.append(output)
    return found


def _reason(
    stage: str,
    last: WrittenOutput | None,
    inputs: dict[str, Any],
    items: Sequence[PlannedItem],
    remade: frozenset[str],
    predicted: PlannedOutput | None,
) -> str:
    new = [item.name for item in items if not item.cached or item.name in remade]
    if last is None:
        return "not written yet"
    if new:
        return f"{new[0]} is made anew"
    differing = keys.differing_leaves(last.inputs, inputs)
    if differing:
        path, before, now = differing[0]
        if path.startswith("items."):
            return f"{stage} {path.removeprefix('items.')} is another one"
        return f"{path} {short(before)} → {short(now)}"
    if predicted is not None and not predicted.current:
        return "the predictions are written anew"
    return last.missing() or ""


def check_outputs(stage: AnyStage, stages: Sequence[AnyStage], cache_dir: Path) -> None:
    """What can be known of a stage's outputs before work starts.

    Raises:
        RecipeError: it cannot make what is asked for, or has nowhere to write it.
    """
    place = f"stages.{stage.name}.output"
    if stage.config.output.prediction.enable and "prediction" not in kinds_of(stage):
        able = [other.name for other in stages if "prediction" in kinds_of(other)]
        raise RecipeError(
            f"{stage.name} makes no predictions",
            where=f"{place}.prediction.enable",
            remedy=f"ask {' or '.join(able)} for them" if able else "leave it out",
        )
    for kind in wanted_kinds(stage):
        directory = stage.config.output.folder(kind, stage_directory(cache_dir, stage))
        where = f"{place}.{kind}.save_dir"
        _require_free_of_cache(directory, stages, cache_dir, where)
        for other in stages:
            if other is not stage and directory in _folders(other, cache_dir):
                raise RecipeError(
                    f"{directory} gets the outputs of {other.name} too", where=where, remedy="give each stage its own"
                )
        _require_writable(directory, where)


def _folders(stage: AnyStage, cache_dir: Path) -> set[Path]:
    own = stage_directory(cache_dir, stage)
    return {stage.config.output.folder(kind, own) for kind in wanted_kinds(stage)}


def _require_free_of_cache(directory: Path, stages: Sequence[AnyStage], cache_dir: Path, where: str) -> None:
    published = [other.name for other in stages if type(other).publish is not Stage.publish]
    real = Path(os.path.realpath(directory))
    for name in (STATE_FOLDER, *published):
        taken = Path(os.path.realpath(cache_dir / name))
        if real == taken or taken in real.parents:
            what = "the cache keeps its work" if name == STATE_FOLDER else f"{name} puts its result"
            raise RecipeError(f"{directory} lies where {what}", where=where, remedy="give another folder")


def _require_writable(directory: Path, where: str) -> None:
    there = next((path for path in (directory, *directory.parents) if os.path.lexists(path)), directory)
    if not there.is_dir():
        raise RecipeError(f"{there} is not a folder", where=where, remedy="move it away, or give another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RecipeError(f"{there} cannot be written", where=where, remedy="make it writable, or give another folder")
