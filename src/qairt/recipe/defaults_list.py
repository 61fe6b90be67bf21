"""The `defaults:` list of a recipe: files of settings, each mounted at a place of it.

    defaults:
      - output/torch@pipeline.torch_profiler.output: default
      - _self_

1. `GROUP@PLACE: NAME` is the file `GROUP.NAME.yaml`, or `GROUP/NAME.yaml`: beside the recipe, else a shipped one.
2. Later entries override earlier ones. The recipe's own settings have the place of `_self_`; without it, the last.
3. The command line overrides all of them.
4. `pipeline.STAGE` means `stages.STAGE`.

Source: the defaults list of Hydra.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qairt.errors import RecipeError
from qairt.printable import as_written
from qairt.recipe.faults import combined
from qairt.recipe.files import shipped_recipes
from qairt.recipe.names import nearest
from qairt.recipe.places import ABSENT, COMMAND_LINE, leaves
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

KEY = "defaults"
_SELF = "_self_"
_FORM = "write GROUP@PLACE: NAME, such as output/torch@pipeline.torch_profiler.output: default"


@dataclass(frozen=True)
class _Mount:
    """One entry: a file, and the place where its settings go."""

    file: Path
    place: KeyPath
    where: str
    """`file:line` of the entry."""


def mount_defaults(recipe: Recipe) -> list[str]:
    """Put the settings of every entry into the recipe, which remembers where each was written.

    Returns:
        The entries that have no effect, one sentence with `file:line` each.

    Raises:
        RecipeError: an entry has another form, or names no file; names every one.
    """
    entries = recipe.get(KEY)
    if KEY not in recipe:
        return []
    if not isinstance(entries, list):
        raise RecipeError("defaults must be a list", where=recipe.where(KEY), remedy=_FORM)
    mounts: list[_Mount] = []
    faults: list[RecipeError] = []
    own = len(entries)
    for index, entry in enumerate(entries):
        if entry == _SELF:
            own = len(mounts)
            continue
        try:
            mounts += _mounts(recipe, entry, recipe.where((KEY, str(index))))
        except RecipeError as error:
            faults.append(error)
    if faults:
        raise combined(faults)
    recipe.pop(KEY)
    stages = recipe.get("stages")
    known = set(map(str, stages)) if isinstance(stages, Mapping) else set()
    idle = [mount for mount in mounts if mount.place[1] not in known]
    before = [mount for mount in mounts[:own] if mount not in idle]
    for mount in reversed(before):
        _mount(recipe, mount, over=False)
    for mount in mounts[own:]:
        if mount not in idle:
            _mount(recipe, mount, over=True)
    return [f"{mount.where}: defaults has no effect: the recipe has no stage {mount.place[1]}" for mount in idle]


def _mounts(recipe: Recipe, entry: object, where: str) -> Iterator[_Mount]:
    """What an entry mounts: nothing where its name is empty.

    Raises:
        RecipeError: it has another form, or there is no such file.
    """
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise RecipeError(f"{as_written(entry)} is not an entry of defaults", where=where, remedy=_FORM)
    ((key, name),) = entry.items()
    while isinstance(name, Mapping) and len(name) == 1:  # a plain key with dots means nesting
        ((step, name),) = name.items()
        key = f"{key}.{step}"
    group, at, place = str(key).partition("@")
    steps = tuple(place.split("."))
    if steps[0] == "pipeline":
        steps = ("stages", *steps[1:])
    if not at or steps[0] != "stages" or len(steps) < 2 or not all(steps):
        raise RecipeError(f"{key} names no place inside a stage", where=where, remedy=_FORM)
    if name is not None:
        yield _Mount(_find(recipe, group, str(name), where), steps, where)


def _find(recipe: Recipe, group: str, name: str, where: str) -> Path:
    folders = [recipe.source.parent] if recipe.source else []
    folders.append(shipped_recipes())
    for folder in folders:
        for path in (folder / f"{group}.{name}.yaml", folder / group / f"{name}.yaml"):
            if path.is_file():
                return path
    known = {file.stem: file for folder in folders for file in (folder / group).parent.glob("*.yaml")}
    last = group.rpartition("/")[2]
    close = nearest(f"{last}.{name}", known) or next((stem for stem in known if stem.startswith(f"{last}.")), None)
    remedy = f"did you mean {close}.yaml?" if close else "put it beside the recipe"
    raise RecipeError(f"there is no {group}.{name}.yaml", where=where, remedy=remedy)


def _mount(recipe: Recipe, mount: _Mount, *, over: bool) -> None:
    """Set the values of one file.

    Args:
        over: they override the recipe's own values, except those of the command line.
    """
    settings = Recipe.from_file(mount.file)
    for steps, value in leaves(settings) if settings else ():
        path = (*mount.place, *steps)
        origin = recipe.origin(path)
        if recipe.at(path, ABSENT) is ABSENT or (over and origin != COMMAND_LINE):
            recipe.mount(path, copy.deepcopy(value), settings.where(steps))
