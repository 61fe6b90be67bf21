"""`qairt cache`: what is cached of finished work, and clearing it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import count, duration, size
from qairt.cli import exit_codes
from qairt.cli.confirm import confirmed
from qairt.cli.console import emit, emit_json, table
from qairt.cli.find_store import (
    EntrySelection,
    find_entries,
    find_store,
    open_for,
    planned_items,
    unused_entries,
)
from qairt.cli.options import CacheDir, HiddenRecipe, Json, RecipeOfCache, Yes
from qairt.cli.signature import add_command
from qairt.cli.text.cache import as_data, clearing, entry_age, entry_rows, inputs

if TYPE_CHECKING:
    from qairt.cli.text.cache import EntryData
    from qairt.engine.plan.planned import PlannedItem

app = typer.Typer(
    help="List, verify and clear finished work.\n\nA cache directory has one entry for each finished item. RECIPE or"
    " --cache-dir names the cache; without them it is the only one in qairt-cache/.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


_COLUMNS = ("stage", "item", "on disk", "alone", "took", "age", "key")
_LATER = " at the next prune"


@add_command(app, "list")
def list_entries(*, selection: EntrySelection, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """List cached items: what they take on disk and took to build.

    Files that several items share count once under "on disk", and in full
    under "alone".

    \b
    Examples:
      qairt cache list
      qairt cache list recipe.yaml
      qairt cache list recipe.yaml convert
    """
    chosen = selection.resolved()
    store = find_store(chosen.recipe, cache_dir)
    entries = find_entries(store, chosen.stage, chosen.item)
    if as_json:
        emit_json({"cache_dir": str(store.cache_dir), "entries": [as_data(entry) for entry in entries]})
        return
    for line in table(entry_rows(entries, store.bytes_by_key()), header=_COLUMNS, right=(2, 3, 4, 5)):
        emit(line)
    emit()
    emit(f"{count(len(entries), 'entry', 'entries')}, {size(store.bytes_on_disk())} on disk in {store.cache_dir}")


@add_command(app, "show")
def show(*, selection: EntrySelection, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Show the files of cached items, and the inputs of their keys.

    \b
    Example:
      qairt cache show recipe.yaml convert ar1-split2
    """
    chosen = selection.resolved()
    store = find_store(chosen.recipe, cache_dir)
    entries = find_entries(store, chosen.stage, chosen.item)
    if as_json:
        emit_json([as_data(entry) | {"inputs": entry.inputs, "files": entry.files} for entry in entries])
        return
    on_disk = store.bytes_by_key()
    for entry in entries:
        took = f"took {duration(entry.seconds)}, finished {entry_age(entry)} ago"
        emit(
            f"{entry.stage} {entry.label}  {size(on_disk.get(entry.key, 0))} on disk, {size(entry.bytes)} alone, {took}"
        )
        emit(f"  key {entry.key}")
        emit(f"  in  {entry.directory}")
        for name, file in entry.files.items():
            gone = ", released: rebuilt when something needs it" if name in entry.released else ""
            emit(f"    {name}  {size(file['size'])}{gone}")
        for name, value in inputs(entry).items():
            emit(f"  {name}: {json.dumps(value, ensure_ascii=False)}")


@add_command(app, "clear")
def clear(
    *,
    selection: EntrySelection,
    after: Annotated[bool, typer.Option("--after", help="Also clear everything built from it.")] = False,
    yes: Yes = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Clear cached items: the next run rebuilds them.

    Prints the bytes this frees and the time to rebuild, and asks for confirmation. Files stay on disk until
    `qairt cache prune`; until then `qairt cache undo` restores them. Without --after, later stages are still reused if
    the rebuilt stage gives the same result.

    \b
    Examples:
      qairt cache clear recipe.yaml convert
      qairt cache clear convert ar1-split2 --after
      qairt cache clear recipe.yaml --yes
    """
    import qairt.stages  # noqa: F401 - a registered stage tells whether others are built from it
    from qairt.engine.cache.clearing import clear as clear_entries
    from qairt.engine.cache.clearing import preview

    chosen = selection.resolved()
    store = find_store(chosen.recipe, cache_dir)
    entries = find_entries(store, chosen.stage, chosen.item)
    whole_stage = None if chosen.item else chosen.stage
    found = preview(store, entries, after=after and chosen.stage is not None, whole_stage=whole_stage)
    if found.entries and not yes and not confirmed(f"Clear {clearing(found.entries, found.bytes, when=_LATER)}?"):
        return
    clear_entries(store, found.entries)
    if as_json:
        emit_json({"cleared": [as_data(entry) for entry in found.entries], "freed": found.bytes})
    elif not found.entries:
        emit("Nothing to clear.")
    else:
        emit(f"Cleared {clearing(found.entries, found.bytes, when=_LATER)}.")
        emit("`qairt cache undo` (z on the full screen) brings it back until `qairt cache prune` frees the disk.")


@add_command(app, "undo")
def undo(
    *,
    recipe: RecipeOfCache = None,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Restore what was cleared last.

    Repeat it to go further back. `qairt cache prune` makes clearing final.
    """
    back = find_store(recipe or recipe_option, cache_dir).undo()
    if as_json:
        restored = back.entries if back else ()
        superseded = back.superseded if back else ()
        emit_json({"restored": [m.model_dump() for m in restored], "superseded": [m.model_dump() for m in superseded]})
    elif back is None:
        emit("Nothing to restore.")
    else:
        emit(f"Restored {count(len(back.entries), 'entry', 'entries')}.")
        for moved in back.superseded:
            emit(f"{moved.name} was rebuilt in the meantime; the new one stays.")


@add_command(app, "verify")
def verify(
    *,
    recipe: RecipeOfCache = None,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Compare every cached file with its digest.

    Reads all of them. A damaged entry is set aside, and the next run rebuilds it; the exit code is then 1. Where two
    machines made different bytes from the same inputs, the shared store knows both, and they are named.
    """
    from qairt.cli.sharing import differing_results

    store = find_store(recipe or recipe_option, cache_dir)
    read = store.verify()
    whole = len(store.entries())
    differing = differing_results(store.state_folder)
    if as_json:
        emit_json({"whole": whole, "bytes": read, "damaged": store.problems, "shared_store": differing})
    else:
        for line in store.problems:
            emit(f"damaged: {line}")
        emit(f"{count(whole, 'intact entry', 'intact entries')}, {size(read)} read")
        if store.problems:
            emit(f"{len(store.problems)} set aside; the next run rebuilds them")
        for line in differing:
            emit(line)
    raise typer.Exit(exit_codes.FAILED if store.problems else exit_codes.DONE)


@add_command(app, "prune")
def prune(
    *,
    recipe: RecipeOfCache = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Also entries that RECIPE, as it is now, does not use.")
    ] = False,
    yes: Yes = False,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Delete cleared entries from disk, for good.

    Also deletes what killed runs left behind, and damaged entries that were set aside.

    \b
    Examples:
      qairt cache prune
      qairt cache prune recipe.yaml --unused
    """
    from qairt.engine.cache.clearing import clear as clear_entries

    recipe = recipe or recipe_option
    store = find_store(recipe, cache_dir)
    entries = unused_entries(store, recipe, cache_dir) if unused else []
    if entries and not yes and not confirmed(f"Clear {clearing(entries, store.freed_by(entries))}?"):
        return
    before = store.bytes_on_disk()
    clear_entries(store, entries)
    cleared, leftovers = store.prune()
    cleared -= len(entries)
    freed = max(before - store.bytes_on_disk(), 0)
    if as_json:
        named: list[EntryData] = [as_data(entry) for entry in entries]
        emit_json({"leftovers": leftovers, "trash": cleared, "cleared": named, "freed": freed})
        return
    kinds = [count(leftovers, "leftover")]
    kinds += [count(cleared, "cleared entry", "cleared entries")] if cleared else []
    kinds += [count(len(entries), "unused entry", "unused entries")] if unused else []
    emit(f"Deleted {' and '.join(kinds)}, freed {size(freed)}.")


@add_command(app, "why")
def why(*, selection: EntrySelection, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Explain why the next run rebuilds an item.

    Names the setting, the file, the part of the model, the library or the earlier item that changed. Below stands what
    reused items were made with and what is not in their keys: patch versions of libraries, the processor.

    \b
    Examples:
      qairt cache why recipe.yaml
      qairt cache why recipe.yaml convert ar1-split2
    """
    from qairt.engine.libraries import made_with_by_stage

    items = planned_items(selection.resolved(), cache_dir)
    if as_json:
        emit_json(
            [
                {
                    "stage": item.stage.name,
                    "label": item.label,
                    "cached": item.cached,
                    "reason": item.why,
                    "key": item.key,
                    "made_with": item.entry.made_with if item.entry else {},
                }
                for item in items
            ]
        )
        return
    rows = [(item.stage.name, item.label, _why(item)) for item in items]
    for line in table(rows, header=("stage", "item", "why it runs")):
        emit(line)
    made = made_with_by_stage(item.entry for item in items if item.entry is not None)
    if made:
        emit()
        for line in table(made, header=("stage", "made with")):
            emit(line)


@add_command(app, "push")
def push(
    *,
    recipe: RecipeOfCache = None,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Add finished items to the shared store, for other machines.

    A run does so by itself in the background; this waits until all of them are there. What was sent before is not sent
    again. The store is `store:` in the user's settings, or QAIRT_STORE; its mode must be read-write.

    \b
    Examples:
      qairt cache push recipe.yaml
      QAIRT_STORE='{url: file:/mnt/share, mode: read-write}' qairt cache push
    """
    from qairt.cli.sharing import push_entries

    store = find_store(recipe or recipe_option, cache_dir)
    push_entries(store, as_json=as_json)


@add_command(app, "pull")
def pull(
    *,
    recipe: RecipeOfCache = None,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Fetch what the shared store has of a recipe; build nothing.

    Every file is compared with its digest on arrival.

    \b
    Example:
      qairt cache pull recipe.yaml
    """
    from qairt.cli.sharing import pull_items

    pull_items(open_for(recipe or recipe_option, cache_dir), as_json=as_json)


@add_command(app, "status")
def status(
    *,
    recipe: RecipeOfCache = None,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show whether the shared store answers, and what it has.

    \b
    Example:
      qairt cache status recipe.yaml
    """
    from qairt.cli.sharing import show_status

    show_status(open_for(recipe or recipe_option, cache_dir), as_json=as_json)


def _why(item: PlannedItem) -> str:
    if item.entry is None:
        return item.why
    return "cached, will be reused" if item.entry.is_whole else "cached, will be reused; its large files were released"
