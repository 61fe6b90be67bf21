"""Whether the overrides of a stage's settings are for items that it has."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.engine.stage import AnyStage, Task
from qairt.errors import RecipeError
from qairt.recipe.faults import combined


def require_overrides_apply(stage: AnyStage, tasks: Sequence[Task]) -> None:
    """
    Raises:
        RecipeError: an entry of `overrides` matches no item, so that its settings would be ignored.
    """
    faults = []
    for index, override in enumerate(stage.config.overrides):
        if any(override.where.items() <= dict(task.coord).items() for task in tasks):
            continue
        asked = ", ".join(f"{axis} {value}" for axis, value in override.where.items())
        items = ", ".join(task.label for task in tasks)
        where = f"stages.{stage.name}.overrides.{index}.where"
        faults.append(RecipeError(f"no item has {asked}", where=where, remedy=f"the items of {stage.name}: {items}"))
    if faults:
        raise combined(faults)
