"""Drawing the pictures of a finished run that nobody has looked at yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qairt.engine.plan.outputs import allowed_kinds, kinds_of, planned_outputs
from qairt.engine.run.inputs import ItemInputs
from qairt.engine.run.output_writer import write_output
from qairt.errors import CacheError, QairtError

if TYPE_CHECKING:
    from qairt.engine.env import Env
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan.planned import Plan, PlannedOutput


@dataclass(frozen=True)
class Drawn:
    """What was drawn, and what could not be."""

    stages: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    """One sentence each, with its remedy."""


def draw_pictures(
    pipeline: Pipeline,
    run: Mapping[tuple[str, str], str],
    *,
    plan_finished: Callable[[], tuple[Env, Plan]] | None = None,
) -> Drawn:
    """Draw the pictures of a run's stages that are missing or out of date, and that `output.visualization` allows.

    A stage is left out if one of its items is not in the cache, or if the recipe has changed since the run, so that the
    pictures would be those of another result. Whatever stands in the way of drawing is a sentence, not an error.

    Args:
        run: the keys of its items by stage and label.
        plan_finished: the pipeline's own, if it was planned before.
    """
    stages = {stage for stage, _ in run}
    wanted = [stage for stage in pipeline.configured_stages if stage.name in stages and kinds_of(type(stage))]
    if not any("visualization" in allowed_kinds(stage) for stage in wanted):
        return Drawn()
    try:
        return _draw(pipeline, run, plan_finished or pipeline.plan_finished)
    except QairtError as error:
        return Drawn(failures=(f"Pictures were not drawn: {_sentence(error)}",))


def _draw(
    pipeline: Pipeline, run: Mapping[tuple[str, str], str], plan_finished: Callable[[], tuple[Env, Plan]]
) -> Drawn:
    env, plan = plan_finished()
    inputs = ItemInputs(pipeline.cache, env)
    outputs = planned_outputs(plan.stages, pipeline.cache_dir, pipeline.model, env, kinds=allowed_kinds)
    predictions = {output.directory for output in outputs if output.kind == "prediction" and output.current}
    drawn: list[str] = []
    failures: list[str] = []
    for output in outputs:
        if output.kind != "visualization" or output.current or not _is_of(output, run):
            continue
        if output.predictions not in predictions:
            output = replace(output, predictions=None)
        try:
            with pipeline.cache.readers.reading(item.key for item in output.items):
                items = {item.coord: inputs.handle(item) for item in output.items}
                write_output(output, items, env, pipeline.state_folder)
        except CacheError as error:
            failures.append(f"The pictures of {output.stage.name} were not drawn: {_sentence(error)}")
            break  # the same place is in the way of all of them
        except Exception as error:  # a picture that cannot be drawn must not hide the rest of the report
            failures.append(f"The pictures of {output.stage.name} were not drawn: {_sentence(error)}")
        else:
            drawn.append(output.stage.name)
    return Drawn(tuple(drawn), tuple(failures))


def _is_of(output: PlannedOutput, run: Mapping[tuple[str, str], str]) -> bool:
    """Whether its items are finished, and those of the run."""
    return all(item.cached and run.get((item.stage.name, item.label)) == item.key for item in output.items)


def _sentence(error: Exception) -> str:
    if not isinstance(error, QairtError):
        return f"{type(error).__name__}: {error}; this is a bug in the stage"
    place = f"{error.where}: " if error.where else ""
    return f"{place}{error.what}" + (f"; {error.remedy}" if error.remedy else "")
