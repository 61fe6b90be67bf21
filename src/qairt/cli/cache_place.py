"""Which cache directory a `qairt cache` command means, and what is in it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.cache import Entry, StageCache
from qairt.engine.manifest import STATE_FOLDER, PipelineManifest
from qairt.errors import QairtError, RecipeError

if TYPE_CHECKING:
    from qairt.engine.plan import PlannedItem
    from qairt.llm import LLMPipeline

DEFAULT_PARENT = "qairt-cache"


class State:
    """A cache directory, without its recipe."""

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir
        self.problems: list[str] = []
        """Entries found damaged; they have been set aside."""
        self._cache = StageCache(cache_dir, lambda path, why: self.problems.append(f"{path.name}: {why}"))
        self._manifest = PipelineManifest(cache_dir)

    def stage_names(self) -> list[str]:
        """Stages with entries, in the order of the recipe that ran last."""
        order = self._order()
        found = {entry.stage for entry in self._cache.entries()}
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))

    def entries(self, stage: str | None = None, label: str | None = None) -> list[Entry]:
        """Entries in the order of stages, the newest of an item first."""
        order = self._order()
        found = [entry for entry in self._cache.entries(stage) if label in (None, entry.label)]
        found.sort(key=lambda entry: entry.timestamp, reverse=True)
        return sorted(
            found, key=lambda e: (order.index(e.stage) if e.stage in order else len(order), e.stage, _natural(e.label))
        )

    def stages_after(self, stage: str) -> list[str]:
        order = self._order()
        return order[order.index(stage) + 1 :] if stage in order else []

    def forget(self, entry: Entry) -> None:
        """Remove an entry and what the manifest says of it."""
        record = self._manifest.read()["stages"].get(entry.stage, {})
        self._cache.remove(entry)
        if record.get("items", {}).get(entry.label, {}).get("cache_key") == entry.key:
            self._manifest.remove_item(entry.stage, entry.label)
        if not self._manifest.read()["stages"].get(entry.stage, {}).get("items"):
            self._manifest.remove(entry.stage)

    def verify(self) -> int:
        """Compare every file with its digest; entries that differ are taken out of use. Returns the bytes read."""
        read = 0
        for entry in self.entries():
            problem = entry.altered()
            read += entry.bytes
            if problem is not None:
                target = entry.directory.with_name(f".bad-{entry.directory.name}-{os.getpid()}")
                shutil.rmtree(target, ignore_errors=True)
                entry.directory.rename(target)
                self.problems.append(f"{entry.stage} {entry.label}: {problem}")
        return read

    def remove_leftovers(self) -> int:
        """Remove what killed runs left behind and entries set aside; returns how many there were."""
        found = self._cache.leftovers()
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        self._cache.drop_unused_blobs()
        return len(found)

    def freed_by(self, entries: Sequence[Entry]) -> int:
        """Bytes that removing `entries` gives back: files are stored once, and others may hold the same ones."""
        held: Counter[tuple[int, int, int, int]] = Counter()
        for entry in entries:
            for name, file in entry.files.items():
                status = (entry.directory / name).stat()
                inode = (status.st_dev, status.st_ino, status.st_nlink, status.st_size)
                blob = self._cache.cache_dir / "blobs" / file["sha256"]
                if inode not in held and blob.exists() and blob.samefile(entry.directory / name):
                    held[inode] += 1  # the blob itself goes when no entry holds it
                held[inode] += 1
        return sum(length for (_, _, links, length), count in held.items() if count >= links)

    def bytes_on_disk(self) -> int:
        """Every file once, however many names it has."""
        seen: dict[tuple[int, int], int] = {}
        for folder, _, names in os.walk(self._cache.cache_dir):
            for name in names:
                try:
                    status = os.lstat(os.path.join(folder, name))
                except OSError:
                    continue
                seen[status.st_dev, status.st_ino] = status.st_size
        return sum(seen.values())

    def _order(self) -> list[str]:
        from qairt.recipe import Recipe

        try:
            stages = Recipe.from_yaml(self._cache.cache_dir / "recipe.yaml").get("stages")
        except (OSError, QairtError):
            return []
        return list(stages) if isinstance(stages, dict) else []


def find_state(recipe: str | None, cache_dir: Path | None) -> State:
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
    return State(folder)


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


def known_stage(state: State, stage: str | None) -> str | None:
    """
    Raises:
        RecipeError: nothing of that stage is kept; names the nearest.
    """
    from qairt.recipe import nearest

    names = state.stage_names()
    if stage is None or stage in names:
        return stage
    close = nearest(stage, names)
    remedy = f"did you mean {close}?" if close else f"there is something of {', '.join(names) or 'no stage'}"
    raise RecipeError(f"nothing of a stage {stage} is kept", where=str(state.cache_dir), remedy=remedy)


def require_entries(state: State, stage: str, label: str | None) -> list[Entry]:
    """The entries of a stage, or of one of its items.

    Raises:
        RecipeError: there are none; names those that there are.
    """
    entries = state.entries(known_stage(state, stage), label)
    if not entries:
        labels = dict.fromkeys(entry.label for entry in state.entries(stage))
        raise RecipeError(
            f"nothing of {stage} {label} is kept", where=str(state.cache_dir), remedy=f"there is {', '.join(labels)}"
        )
    return entries


def following(state: State, entries: Sequence[Entry], *, whole_stage: str | None) -> list[Entry]:
    """`entries` and all that was made from them; with `whole_stage` also everything of later stages."""
    later = set(state.stages_after(whole_stage)) if whole_stage else set()
    gone = {entry.key for entry in entries}
    everything = state.entries()
    grew = True
    while grew:
        sources = [(entry, (entry.inputs.get("extras") or {}).get("sources") or {}) for entry in everything]
        more = {entry.key for entry, made_from in sources if gone & set(made_from.values()) or entry.stage in later}
        grew = not more <= gone
        gone |= more
    return [entry for entry in everything if entry.key in gone]


def open_for(recipe: str | None, cache_dir: Path | None) -> LLMPipeline:
    """The pipeline of `recipe`, or the one that ran last in the cache directory."""
    from qairt.cli.recipe_argument import open_pipeline

    if recipe is not None:
        return open_pipeline(recipe, cache_dir=cache_dir)
    from qairt.llm import LLMPipeline
    from qairt.recipe import Recipe

    folder = find_state(None, cache_dir).cache_dir
    last = Recipe.from_yaml(folder / STATE_FOLDER / "recipe.yaml")
    last.source = _recipe_of_last_run(folder) or last.source  # files it names are looked up beside it
    return LLMPipeline.of(last, cache_dir=folder)


def _recipe_of_last_run(folder: Path) -> Path | None:
    from qairt.engine.files import read_lines

    for events in sorted((folder / STATE_FOLDER / "runs").glob("*/events.jsonl"), reverse=True):
        named = next((record.get("recipe") for record in read_lines(events)[:1]), None)
        if named:
            return Path(named) if Path(named).is_file() else None
    return None


def unused_entries(state: State, recipe: str | None, cache_dir: Path | None) -> list[Entry]:
    """Entries that a run of the recipe, as it is now, would not reuse."""
    if recipe is None:
        raise RecipeError("--unused compares with a recipe", remedy="give it with --recipe")
    used = {item.key for item in open_for(recipe, cache_dir).plan().items}
    return [entry for entry in state.entries() if entry.key not in used]


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


def _natural(label: str) -> list[tuple[str, int]]:
    """`ar128-split2` after `ar1-split10`."""
    import re

    return [(name, int(number or 0)) for name, number in re.findall(r"([a-z]+)(\d*)", label)]
