"""`qairt cache`: what is kept of finished work, and how to let go of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qairt.amounts import age, count, duration, size
from qairt.cli import exit_codes
from qairt.cli.console import is_terminal, say, say_json, table
from qairt.cli.options import CacheDir, Json, Yes

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry

app = typer.Typer(
    help="Look at finished work, and let go of it.\n\nWork lies in a cache directory, one entry for each finished item."
    " Which one: that of --recipe, or --cache-dir, or the only one below qairt-cache/.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RecipeOption = Annotated[
    str | None, typer.Option("--recipe", "-r", metavar="RECIPE", help="The recipe whose cache is meant.")
]
StageArgument = Annotated[str, typer.Argument(metavar="STAGE", help="A stage, such as convert.")]
StageOrAll = Annotated[str | None, typer.Argument(metavar="STAGE", help="A stage; all of them when left out.")]
LabelArgument = Annotated[
    str | None, typer.Argument(metavar="ITEM", help="One item of it, such as ar128-split2; all when left out.")
]


@app.command("list")
def list_entries(
    stage: StageOrAll = None, recipe: RecipeOption = None, cache_dir: CacheDir = None, as_json: Json = False
) -> None:
    """List finished items, what they hold and took to make."""
    from qairt.cli.find_store import find_store, known_stage

    store = find_store(recipe, cache_dir)
    entries = store.entries(known_stage(store, stage))
    if as_json:
        say_json({"cache_dir": str(store.cache_dir), "entries": [as_data(entry) for entry in entries]})
        return
    rows = [
        (entry.stage, entry.label, size(entry.bytes), duration(entry.seconds), _age(entry), entry.key[:8])
        for entry in entries
    ]
    for line in table(rows, header=("stage", "item", "size", "took", "age", "key"), right=(2, 3, 4)):
        say(line)
    say()
    say(f"{count(len(entries), 'entry', 'entries')}, {size(store.bytes_on_disk())} on disk in {store.cache_dir}")


@app.command("show")
def show(
    stage: StageArgument,
    label: LabelArgument = None,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show an item's files and what its key was made from."""
    from qairt.cli.find_store import find_store, require_entries

    entries = require_entries(find_store(recipe, cache_dir), stage, label)
    if as_json:
        say_json([as_data(entry) | {"inputs": entry.inputs, "files": entry.files} for entry in entries])
        return
    for entry in entries:
        say(f"{entry.stage} {entry.label}  {size(entry.bytes)}, took {duration(entry.seconds)}, made {_age(entry)} ago")
        say(f"  key {entry.key}")
        say(f"  in  {entry.directory}")
        for name, file in entry.files.items():
            say(f"    {name}  {size(file['size'])}")
        for name, value in _settings(entry).items():
            say(f"  {name}: {json.dumps(value, ensure_ascii=False)}")


@app.command("clear")
def clear(
    stage: StageOrAll = None,
    label: LabelArgument = None,
    after: Annotated[bool, typer.Option("--after", help="Also clear everything that was made from it.")] = False,
    yes: Yes = False,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Forget finished items: the next run makes them again.

    Says how many bytes that gives back and how long it takes to make them again, and asks. They stay on disk until
    `qairt cache prune`; until then `qairt cache undo` brings them back. Without --after, what follows
    from a cleared stage is still reused if the stage gives the same again.

    \b
    Examples:
      qairt cache clear convert
      qairt cache clear convert ar1-split2 --after
      qairt cache clear --yes -r recipe.yaml
    """
    import qairt.stages  # noqa: F401 - nothing follows from some of them
    from qairt.cli.find_store import find_store, require_entries
    from qairt.engine.cache.clearing import clear as forget
    from qairt.engine.cache.clearing import preview

    store = find_store(recipe, cache_dir)
    entries = require_entries(store, stage, label) if stage else store.entries()
    found = preview(store, entries, after=after and stage is not None, whole_stage=None if label else stage)
    told = _told(found.entries, found.bytes)
    if found.entries and not yes:
        _require_consent(f"Clear {told}?")
    forget(store, found.entries)
    if as_json:
        say_json({"cleared": [as_data(entry) for entry in found.entries], "freed": found.bytes})
    elif not found.entries:
        say("Nothing to clear.")
    else:
        say(f"Cleared {told}.")
        say("`qairt cache undo` (z in the terminal interface) brings it back until `qairt cache prune` frees the disk.")


@app.command("undo")
def undo(recipe: RecipeOption = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Bring back what was cleared last.

    Repeat it to go further back. `qairt cache prune` makes clearing final.
    """
    from qairt.cli.find_store import find_store

    back = find_store(recipe, cache_dir).undo()
    if as_json:
        named = back.entries if back else ()
        superseded = back.superseded if back else ()
        say_json({"restored": [m.model_dump() for m in named], "superseded": [m.model_dump() for m in superseded]})
    elif back is None:
        say("Nothing to bring back.")
    else:
        say(f"Brought back {count(len(back.entries), 'entry', 'entries')}.")
        for moved in back.superseded:
            say(f"{moved.name} was made again meanwhile; the new one stays.")


@app.command("verify")
def verify(recipe: RecipeOption = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Compare every finished file with its digest.

    Reads all of them. A damaged entry is set aside; the next run makes it again. Exit code 1 if there was one.
    """
    from qairt.cli.find_store import find_store

    store = find_store(recipe, cache_dir)
    read = store.verify()
    whole = len(store.entries())
    if as_json:
        say_json({"whole": whole, "bytes": read, "damaged": store.problems})
    else:
        for line in store.problems:
            say(f"damaged: {line}")
        say(f"{count(whole, 'entry', 'entries')} whole, {size(read)} read")
        if store.problems:
            say(f"{len(store.problems)} set aside; the next run makes them again")
    raise typer.Exit(exit_codes.FAILED if store.problems else exit_codes.DONE)


@app.command("prune")
def prune(
    unused: Annotated[
        bool, typer.Option("--unused", help="Also entries that the recipe does not use as it is now; needs --recipe.")
    ] = False,
    yes: Yes = False,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Free the disk of what was cleared, for good.

    Also of what killed runs left behind, and of entries that were found damaged and set aside.

    \b
    Examples:
      qairt cache prune
      qairt cache prune --unused -r recipe.yaml
    """
    from qairt.cli.find_store import find_store, unused_entries

    store = find_store(recipe, cache_dir)
    entries = unused_entries(store, recipe, cache_dir) if unused else []
    if entries and not yes:
        _require_consent(f"Clear {_told(entries, store.freed_by(entries))}?")
    before = store.bytes_on_disk()
    store.clear(entries)
    cleared, leftovers = store.prune()
    cleared -= len(entries)
    freed = max(before - store.bytes_on_disk(), 0)
    if as_json:
        named = [as_data(entry) for entry in entries]
        say_json({"leftovers": leftovers, "trash": cleared, "cleared": named, "freed": freed})
        return
    kinds = [count(leftovers, "leftover")]
    kinds += [count(cleared, "cleared entry", "cleared entries")] if cleared else []
    kinds += [count(len(entries), "unused entry", "unused entries")] if unused else []
    say(f"Removed {' and '.join(kinds)}, freed {size(freed)}.")


@app.command("why")
def why(
    stage: StageArgument,
    label: LabelArgument = None,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Say why the next run makes an item again.

    Names the setting, the file or the item before it that differs.

    \b
    Example:
      qairt cache why convert ar1-split2 -r recipe.yaml
    """
    from qairt.cli.find_store import planned_items

    items = planned_items(stage, label, recipe, cache_dir)
    if as_json:
        say_json(
            [
                {"stage": i.stage.name, "label": i.label, "cached": i.cached, "reason": i.reason, "key": i.key}
                for i in items
            ]
        )
        return
    rows = [(item.stage.name, item.label, "cached, will be reused" if item.cached else item.reason) for item in items]
    for line in table(rows, header=("stage", "item", "why it runs")):
        say(line)


def as_data(entry: Entry) -> dict[str, Any]:
    """An entry for scripts."""
    return {
        "stage": entry.stage,
        "label": entry.label,
        "key": entry.key,
        "bytes": entry.bytes,
        "seconds": entry.seconds,
        "peak_rss": entry.peak_rss,
        "timestamp": entry.timestamp,
        "directory": str(entry.directory),
    }


def _told(entries: Sequence[Entry], freed: int) -> str:
    """`2 entries: frees 62 MB, 12.3 s of work to make again`."""
    work = duration(sum(entry.seconds for entry in entries))
    return f"{count(len(entries), 'entry', 'entries')}: frees {size(freed)}, {work} of work to make again"


def _age(entry: Entry) -> str:
    from datetime import UTC, datetime

    return age((datetime.now(UTC) - datetime.fromisoformat(entry.timestamp)).total_seconds())


def _settings(entry: Entry) -> dict[str, Any]:
    """What the key was made from, by dotted name."""
    from qairt.engine.cache.entry import mapping_in

    flat = {f"stages.{entry.stage}.{name}": value for name, value in mapping_in(entry.inputs, "config").items()}
    for group in ("params", "facts", "sources"):
        flat |= {f"{group} {name}": value for name, value in mapping_in(entry.inputs, "extras", group).items()}
    return flat


def someone_is_there() -> bool:
    import sys

    return is_terminal() and sys.stdin.isatty()


def _require_consent(question: str) -> None:
    """Ask on a terminal.

    Raises:
        RecipeError: nobody is there to ask.
        typer.Exit: the answer is no.
    """
    from qairt.errors import RecipeError

    if not someone_is_there():
        raise RecipeError(f"this would: {question.rstrip('?')}", remedy="give --yes, for there is nobody to ask")
    if not typer.confirm(question):
        raise typer.Exit(exit_codes.DONE)
