"""The stages that a run goes through, by what its options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.errors import RecipeError
from qairt.recipe.names import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qairt.engine.stage import AnyStage


def requested(stages: Sequence[AnyStage], until: str | None, force: Collection[str]) -> Sequence[AnyStage]:
    """The stages up to `until`.

    Raises:
        RecipeError: one of the names is unknown, or a stage after the last is forced.
    """
    names = [stage.name for stage in stages]
    for name in force:
        require_stage(name, names)
    if until is None:
        return stages
    require_stage(until, names)
    end = names.index(until) + 1
    for name in names[end:]:
        if name in force:
            raise RecipeError(
                f"{name} cannot be forced: it comes after {until}, where the run ends",
                remedy=f"leave out --force {name} or --until {until}",
            )
    return stages[:end]


def require_stage(name: str, names: Collection[str]) -> None:
    """
    Raises:
        RecipeError: a recipe with these stages has none of this name.
    """
    if name not in names:
        close = nearest(name, names)
        remedy = f"did you mean {close}?" if close else f"its stages: {', '.join(names)}"
        raise RecipeError(f"there is no stage {name} in this recipe", remedy=remedy)
