"""Which predictions and pictures a run writes: one output for each stage and kind, up to date or not, and why not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.plan.output_record import OutputRecords, WrittenOutput
from qairt.engine.plan.planned import PlannedOutput, short
from qairt.engine.stage import AnyStage, Env, Stage
from qairt.errors import RecipeError
from qairt.recipe.output_settings import KINDS, ModelOutput, OutputKind

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.engine.plan.planned import StagePlan


def stage_directory(cache_dir: Path, stage: AnyStage) -> Path:
    """A stage's output directory, the base of a relative `save_dir`; another one if the stage publishes a folder."""
    published = type(stage).publish is not Stage.publish
    return cache_dir / (f"{stage.name}_outputs" if published else stage.name)


def kinds_of(stage: type[AnyStage]) -> tuple[OutputKind, ...]:
    """The kinds of output that this stage can write."""
    made = {
        "prediction": stage.write_predictions is not Stage.write_predictions,
        "visualization": stage.write_visualization is not Stage.write_visualization,
    }
    return tuple(kind for kind in KINDS if made[kind])


def requested_kinds(stage: AnyStage) -> tuple[OutputKind, ...]:
    """Those that it can write and the recipe has every run write."""
    return tuple(kind for kind in kinds_of(type(stage)) if stage.config.output.wants(kind))


def allowed_kinds(stage: AnyStage) -> tuple[OutputKind, ...]:
    """Those, and the pictures that are drawn when somebody looks at them."""
    return tuple(kind for kind in kinds_of(type(stage)) if stage.config.output.allows(kind))


def planned_outputs(
    stages: Sequence[StagePlan],
    cache_dir: Path,
    model: str,
    env: Env,
    *,
    made: frozenset[str] = frozenset(),
    kinds: Callable[[AnyStage], Sequence[OutputKind]] = requested_kinds,
) -> list[PlannedOutput]:
    """Every output of these kinds, predictions of a stage before its pictures.

    Args:
        env: of the plan.
        model: the model's name, for `extra`.
        made: items that this run made, perhaps under the key they had before.
        kinds: of a stage.
    """
    records = OutputRecords(cache_dir / STATE_FOLDER).read()
    found: list[PlannedOutput] = []
    for planned in stages:
        stage = planned.stage
        predicted: PlannedOutput | None = None
        for kind in kinds(stage):
            directory = stage.config.output.folder(kind, stage_directory(cache_dir, stage))
            last = records.get(stage.name, {}).get(kind)
            settings = stage.config.output.of_model(model)
            inputs = _inputs(planned, kind, directory, settings, env, predicted)
            output = PlannedOutput(
                stage=stage,
                kind=kind,
                directory=directory,
                model=settings,
                items=tuple(planned.items),
                inputs=inputs,
                reason=_reason(planned, last, inputs, made, predicted),
                predictions=predicted.directory if predicted else None,
            )
            predicted = output if kind == "prediction" else predicted
            found.append(output)
    return found


def _inputs(
    planned: StagePlan,
    kind: OutputKind,
    directory: Path,
    settings: ModelOutput,
    env: Env,
    predicted: PlannedOutput | None,
) -> dict[str, JsonValue]:
    """Everything an output depends on."""
    inputs: dict[str, JsonValue] = {
        "version": planned.stage.output_version,
        "items": {item.label: item.key for item in planned.items},
        "extra": getattr(settings, kind).model_dump(mode="json"),
        "save_dir": str(directory),
    }
    if kind == "prediction" and (facts := planned.stage.prediction_key_extras(env)):
        inputs["facts"] = keys.plain(dict(facts))
    if predicted is not None:
        inputs["predictions"] = keys.digest(predicted.inputs)
    return inputs


def _reason(
    planned: StagePlan,
    last: WrittenOutput | None,
    inputs: dict[str, JsonValue],
    made: frozenset[str],
    predicted: PlannedOutput | None,
) -> str:
    """Why an output is written; empty if it is up to date."""
    new = [item.name for item in planned.items if item.runs or item.name in made]
    if last is None:
        return "not written yet"
    if new:
        return f"{new[0]} is rebuilt"
    differing = keys.differing_leaves(last.inputs, inputs)
    if differing:
        path, before, now = differing[0]
        if path.startswith("items."):
            return f"{planned.stage.name} {path.removeprefix('items.')} changed"
        if path.startswith("facts."):
            return f"the {path.removeprefix('facts.')} changed"
        if path == "facts":
            return "an earlier version of qairt, which did not record all that answers depend on, wrote them"
        return f"{path} {short(before)} → {short(now)}"
    if predicted is not None and not predicted.current:
        return "the predictions will be rewritten"
    return last.missing() or ""


def check_outputs(stage: AnyStage, stages: Sequence[AnyStage], cache_dir: Path) -> None:
    """Check before work starts that a stage's requested outputs can be written.

    Raises:
        RecipeError: the stage cannot write them, or has nowhere to put them.
    """
    setting = f"stages.{stage.name}.output"
    if stage.config.output.prediction.enable and "prediction" not in kinds_of(type(stage)):
        able = [other.name for other in stages if "prediction" in kinds_of(type(other))]
        raise RecipeError(
            f"{stage.name} writes no predictions",
            where=f"{setting}.prediction.enable",
            remedy=f"enable them for {' or '.join(able)}" if able else "remove this setting",
        )
    for kind in allowed_kinds(stage):
        directory = stage.config.output.folder(kind, stage_directory(cache_dir, stage))
        where = f"{setting}.{kind}.save_dir"
        _require_free_of_cache(directory, stages, cache_dir, where)
        for other in stages:
            if other is not stage and directory in _folders(other, cache_dir):
                raise RecipeError(
                    f"{directory} also receives the outputs of {other.name}",
                    where=where,
                    remedy="use a separate folder for each stage",
                )
        _require_writable(directory, where, cache_dir)


def _folders(stage: AnyStage, cache_dir: Path) -> set[Path]:
    own = stage_directory(cache_dir, stage)
    return {stage.config.output.folder(kind, own) for kind in allowed_kinds(stage)}


def _require_free_of_cache(directory: Path, stages: Sequence[AnyStage], cache_dir: Path, where: str) -> None:
    published = [other.name for other in stages if type(other).publish is not Stage.publish]
    real = Path(os.path.realpath(directory))
    for name in (STATE_FOLDER, *published):
        taken = Path(os.path.realpath(cache_dir / name))
        if real == taken or taken in real.parents:
            folder = "the cache's own folder" if name == STATE_FOLDER else f"the result folder of {name}"
            raise RecipeError(f"{directory} is inside {folder}", where=where, remedy="choose another folder")


def _require_writable(directory: Path, where: str, cache_dir: Path) -> None:
    there = next((path for path in (directory, *directory.parents) if os.path.lexists(path)), directory)
    if there == cache_dir or there in cache_dir.parents:
        return  # the cache directory as a whole is checked once: see StageCache.require_writable
    if not there.is_dir():
        raise RecipeError(f"{there} is not a folder", where=where, remedy="move it away, or choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RecipeError(
            f"{there} cannot be written", where=where, remedy="make it writable, or choose another folder"
        )
