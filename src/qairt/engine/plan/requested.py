"""The stages that a run goes through, by what its options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.errors import RecipeError
from qairt.recipe.names import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qairt.engine.run.options import RunOptions
    from qairt.engine.stage import AnyStage


def requested(stages: Sequence[AnyStage], options: RunOptions) -> Sequence[AnyStage]:
    """The stages up to `options.until`.

    Raises:
        RecipeError: the options name an unknown stage, or force one after the last.
    """
    names = [stage.name for stage in stages]
    for name in options.force:
        require_stage(name, names)
    if options.until is None:
        return stages
    require_stage(options.until, names)
    end = names.index(options.until) + 1
    for name in names[end:]:
        if name in options.force:
            raise RecipeError(
                f"{name} cannot be forced: it comes after {options.until}, where the run ends",
                remedy=f"leave out --force {name} or --until {options.until}",
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
