"""Where a value in a cache key comes from: a line of the recipe, the command line, a default, a file, a tool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qairt.engine.plan.planned import Leaf
from qairt.errors import QairtError
from qairt.recipe.places import COMMAND_LINE
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

if TYPE_CHECKING:
    from qairt.engine.plan.planned import PlannedItem

DEFAULT = "default"
COMPUTED = "computed from the settings"

_OTHERS = {
    "file": "a file's content",
    "toolchain": "toolchain",
    "facet": "the model's content",
    "library": "an installed package",
    "version": "this version of qairt",
    "input": "its input",
}


@dataclass(frozen=True)
class Origin:
    """Where a value was written."""

    where: str
    """`file:line`, `command line`, `default`, or what it was read from."""
    path: KeyPath = ()
    """The setting's path, if exactly this value is written in the recipe's file."""


def origin_of(leaf: Leaf, item: PlannedItem, recipe: Recipe) -> Origin:
    """Where the current value of `leaf` comes from."""
    if leaf.kind == "setting":
        return _setting(leaf, item, recipe)
    if leaf.kind == "parameter":
        return _parameter(leaf, item, recipe)
    return Origin(_OTHERS.get(leaf.kind, COMPUTED))


def settings_file(file: str) -> Recipe | None:
    """The file of settings that a stage's `recipe` setting names; None when it cannot be read."""
    try:
        return Recipe.from_file(file)
    except (QairtError, OSError):
        return None


def _setting(leaf: Leaf, item: PlannedItem, recipe: Recipe) -> Origin:
    steps = recipe.path_of(leaf.field)
    return _written(recipe, _in_overrides(item, steps) or steps, after=2) or Origin(DEFAULT)


def _parameter(leaf: Leaf, item: PlannedItem, recipe: Recipe) -> Origin:
    steps = recipe.path_of(f"stages.{leaf.field}")
    if found := _written(recipe, steps, after=3):
        return found
    name = getattr(item.stage.config, "recipe", None)
    settings = settings_file(name) if isinstance(name, str) else None
    if settings is not None and (where := settings.origin(steps[3:])):
        return Origin(where)
    top = next((key for key in recipe if key == steps[2] or str(key).startswith(f"{steps[2]}_")), None)
    written = _written(recipe, (top,), after=0) if top else None
    if written is None:
        return Origin(COMPUTED)
    return written if top == steps[2] else Origin(written.where)


def _in_overrides(item: PlannedItem, steps: KeyPath) -> KeyPath:
    """The path below the stage's `overrides` that sets this value for the item; empty if none does."""
    coord = dict(item.coord)
    for number, override in reversed(list(enumerate(item.stage.config.overrides))):
        if steps[2] in override.set and all(coord.get(axis) == value for axis, value in override.where.items()):
            return (*steps[:2], "overrides", str(number), "set", *steps[2:])
    return ()


def _written(recipe: Recipe, steps: KeyPath, *, after: int) -> Origin | None:
    """Where the value at `steps`, or a value around it with more than `after` steps, was written."""
    for count in range(len(steps), after, -1):
        if where := recipe.origin(steps[:count]):
            in_file = where != COMMAND_LINE and count == len(steps)
            return Origin(where, steps if in_file else ())
    return None
