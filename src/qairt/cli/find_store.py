"""Which cache directory, entries and items a `qairt cache` command means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.cache.entry import Entry
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.cache.store import Store
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.engine.plan.planned import PlannedItem
    from qairt.llm import LLMPipeline

DEFAULT_PARENT = "qairt-cache"


def find_store(recipe: str | None, cache_dir: Path | None) -> Store:
    """The cache directory that is meant.

    Raises:
        RecipeError: it cannot be told, or nothing was ever run there.
    """
    folder = cache_dir
    if folder is None and recipe is not None:
        from qairt.cli.recipe_argument import open_pipeline

        folder = open_pipeline(recipe).cache_dir
    if folder is None:
        folder = _only_one()
    if not (folder / STATE_FOLDER).is_dir():
        raise RecipeError("nothing was run in this cache directory yet", where=str(folder), remedy="qairt run RECIPE")
    return Store(folder)


def _only_one() -> Path:
    found = sorted(path.parent for path in Path(DEFAULT_PARENT).glob(f"*/{STATE_FOLDER}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise RecipeError(
            f"there is no cache directory below {DEFAULT_PARENT}/", remedy="say which one with --recipe or --cache-dir"
        )
    raise RecipeError(
        f"there are several cache directories below {DEFAULT_PARENT}/: {', '.join(path.name for path in found)}",
        remedy="say which one with --recipe or --cache-dir",
    )


def known_stage(store: Store, stage: str | None) -> str | None:
    """
    Raises:
        RecipeError: nothing of that stage is kept; names the nearest.
    """
    from qairt.recipe.names import nearest

    names = store.stage_names()
    if stage is None or stage in names:
        return stage
    close = nearest(stage, names)
    remedy = f"did you mean {close}?" if close else f"there is something of {', '.join(names) or 'no stage'}"
    raise RecipeError(f"nothing of a stage {stage} is kept", where=str(store.cache_dir), remedy=remedy)


def require_entries(store: Store, stage: str, label: str | None) -> list[Entry]:
    """The entries of a stage, or of one of its items.

    Raises:
        RecipeError: there are none; names those that there are.
    """
    entries = store.entries(known_stage(store, stage), label)
    if not entries:
        labels = dict.fromkeys(entry.label for entry in store.entries(stage))
        raise RecipeError(
            f"nothing of {stage} {label} is kept", where=str(store.cache_dir), remedy=f"there is {', '.join(labels)}"
        )
    return entries


def open_for(recipe: str | None, cache_dir: Path | None) -> LLMPipeline:
    """The pipeline of `recipe`, or the one that ran last in the cache directory."""
    from qairt.cli.recipe_argument import open_pipeline

    if recipe is not None:
        return open_pipeline(recipe, cache_dir=cache_dir)
    from qairt.llm import LLMPipeline
    from qairt.recipe.recipe import Recipe

    folder = find_store(None, cache_dir).cache_dir
    last = Recipe.from_yaml(folder / STATE_FOLDER / "recipe.yaml")
    last.source = _recipe_of_last_run(folder) or last.source  # files it names are looked up beside it
    return LLMPipeline.from_recipe_object(last, cache_dir=folder)


def _recipe_of_last_run(folder: Path) -> Path | None:
    from qairt.files import read_lines

    for events in sorted((folder / STATE_FOLDER / "runs").glob("*/events.jsonl"), reverse=True):
        named = next((record.get("recipe") for record in read_lines(events)[:1]), None)
        if isinstance(named, str) and named:
            return Path(named) if Path(named).is_file() else None
    return None


def unused_entries(store: Store, recipe: str | None, cache_dir: Path | None) -> list[Entry]:
    """Entries that a run of the recipe, as it is now, would not reuse."""
    if recipe is None:
        raise RecipeError("--unused compares with a recipe", remedy="give it with --recipe")
    used = {item.key for item in open_for(recipe, cache_dir).plan().items}
    return [entry for entry in store.entries() if entry.key not in used]


def planned_items(stage: str, label: str | None, recipe: str | None, cache_dir: Path | None) -> list[PlannedItem]:
    """Items of the plan.

    Raises:
        RecipeError: the recipe has no such stage or item; names those that it has.
    """
    pipeline = open_for(recipe, cache_dir)
    made = pipeline.plan()
    of_stage = [item for item in made.items if item.stage.name == stage]
    if not of_stage:
        raise RecipeError(
            f"there is no stage {stage} in this recipe", remedy=f"its stages: {', '.join(pipeline.stage_names())}"
        )
    items = [item for item in of_stage if label in (None, item.label)]
    if not items:
        raise RecipeError(
            f"{stage} has no item {label}", remedy=f"its items: {', '.join(item.label for item in of_stage)}"
        )
    return items
