"""Which cache, entries and items a `qairt cache` command is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import completion
from qairt.cli.find_cache_dir import only_cache_dir
from qairt.cli.find_recipe import is_recipe
from qairt.cli.options import HiddenRecipe, RecipeOfCache
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry
    from qairt.engine.cache.store import Store
    from qairt.engine.plan.planned import PlannedItem
    from qairt.llm import LLMPipeline


@dataclass(frozen=True)
class EntrySelection:
    """`[RECIPE] [STAGE] [ITEM]`: a recipe's cache, one stage of it, one item of that stage."""

    recipe: RecipeOfCache = None
    stage: Annotated[
        str | None,
        typer.Argument(
            metavar="STAGE",
            help="A stage, such as convert; all of them if left out.",
            show_default=False,
            autocompletion=completion.stages,
        ),
    ] = None
    item: Annotated[
        str | None,
        typer.Argument(
            metavar="ITEM", help="One of its items, such as ar128-split2; all of them if left out.", show_default=False
        ),
    ] = None
    recipe_option: HiddenRecipe = None

    def resolved(self) -> EntrySelection:
        """The same with every word in its field, also when RECIPE was left out.

        Raises:
            RecipeError: the first of three arguments is not a recipe.
        """
        arguments = [word for word in (self.recipe, self.stage, self.item) if word is not None]
        recipe = arguments.pop(0) if arguments and is_recipe(arguments[0]) else self.recipe_option
        if len(arguments) > 2:
            raise RecipeError(f"{arguments[0]} is not a recipe", remedy="give RECIPE STAGE ITEM, or STAGE ITEM")
        stage, item = [*arguments, None, None][:2]
        return EntrySelection(recipe, stage, item)


def find_store(recipe: str | None, cache_dir: Path | None) -> Store:
    """
    Raises:
        RecipeError: several caches are possible, or nothing has run there.
    """
    from qairt.engine.cache.store import Store

    return Store(only_cache_dir(recipe, cache_dir))


def known_stage(store: Store, stage: str | None) -> str | None:
    """
    Raises:
        RecipeError: nothing of that stage is cached; names the nearest stage.
    """
    from qairt.recipe.names import nearest

    names = store.stage_names()
    if stage is None or stage in names:
        return stage
    close = nearest(stage, names)
    remedy = f"did you mean {close}?" if close else f"cached stages: {', '.join(names) or 'none'}"
    raise RecipeError(f"nothing of a stage {stage} is cached", where=str(store.cache_dir), remedy=remedy)


def find_entries(store: Store, stage: str | None, label: str | None) -> list[Entry]:
    """The entries of all stages, of one, or of one of its items.

    Raises:
        RecipeError: there are none of that stage or item; names the existing ones.
    """
    entries = store.entries(known_stage(store, stage), label)
    if stage is not None and not entries:
        labels = dict.fromkeys(entry.label for entry in store.entries(stage))
        raise RecipeError(
            f"nothing of {stage} {label} is cached", where=str(store.cache_dir), remedy=f"cached: {', '.join(labels)}"
        )
    return entries


def open_for(recipe: str | None, cache_dir: Path | None) -> LLMPipeline:
    """The pipeline of `recipe`, or the one that ran last in the cache directory."""
    from qairt.cli.find_recipe import open_pipeline

    if recipe is not None:
        return open_pipeline(recipe, cache_dir=cache_dir)
    from qairt.engine.cache.manifest import STATE_FOLDER
    from qairt.llm import LLMPipeline
    from qairt.recipe.recipe import Recipe

    folder = only_cache_dir(None, cache_dir)
    last = Recipe.from_yaml(folder / STATE_FOLDER / "recipe.yaml")
    last.source = _recipe_of_last_run(folder / STATE_FOLDER) or last.source  # files it names are found beside it
    return LLMPipeline.from_recipe_object(last, cache_dir=folder)


def _recipe_of_last_run(state_folder: Path) -> Path | None:
    from qairt.files import read_lines

    for events in sorted((state_folder / "runs").glob("*/events.jsonl"), reverse=True):
        named = next((record.get("recipe") for record in read_lines(events)[:1]), None)
        if isinstance(named, str) and named:
            return Path(named) if Path(named).is_file() else None
    return None


def unused_entries(store: Store, recipe: str | None, cache_dir: Path | None) -> list[Entry]:
    """Entries that a run of the recipe, as it is now, would not reuse."""
    if recipe is None:
        raise RecipeError("--unused needs a recipe to compare with", remedy="qairt cache prune RECIPE --unused")
    used = {item.key for item in open_for(recipe, cache_dir).plan().items}
    return [entry for entry in store.entries() if entry.key not in used]


def planned_items(selection: EntrySelection, cache_dir: Path | None) -> list[PlannedItem]:
    """Items of the plan: all of them, those of one stage, or one.

    Raises:
        RecipeError: the recipe has no such stage or item; names its own.
    """
    from qairt.engine.plan.requested import require_stage

    pipeline = open_for(selection.recipe, cache_dir)
    stage, label = selection.stage, selection.item
    if stage is not None:
        require_stage(stage, pipeline.stage_names())
    of_stage = [item for item in pipeline.plan().items if stage in (None, item.stage.name)]
    items = [item for item in of_stage if label in (None, item.label)]
    if not items:
        raise RecipeError(
            f"{stage} has no item {label}", remedy=f"its items: {', '.join(item.label for item in of_stage)}"
        )
    return items
