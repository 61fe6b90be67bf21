"""A cache directory without its recipe: its entries, which recipes use them, and what clearing frees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry, by_age, bytes_on_disk
from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.cache.releasing import release
from qairt.engine.cache.trash import Cleared, Trash, files_of_trash
from qairt.engine.record.events import RunStarted, parse_event
from qairt.engine.record.folder import run_folders
from qairt.engine.stage import registered_stages
from qairt.errors import CacheError, QairtError
from qairt.files import bytes_below, open_regular, parse_json


class Store:
    """A cache directory, without its recipe. A clear that was killed half-way is rolled back first.

    Args:
        cache_dir: the folder that holds `pipeline_state`.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir
        self.problems: list[str] = []
        """Damaged entries that were found and set aside."""
        self._cache = StageCache(cache_dir, lambda path, why: self.problems.append(f"{path.name}: {why}"))
        self.state_folder = self._cache.cache_dir
        self.trash = Trash(self.state_folder, PipelineManifest(cache_dir), self._cache.readers)
        self.trash.recover()
        self._starts: dict[Path, RunStarted] = {}

    # Reading

    def stage_names(self) -> list[str]:
        """Stages with entries, in the order of the latest recipe."""
        order = self._order()
        found = {entry.stage for entry in self._cache.entries()}
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))

    def entries(self, stage: str | None = None, label: str | None = None) -> list[Entry]:
        """Entries in the order of stages, the newest of an item first."""
        order = self._order()
        found = [entry for entry in self._cache.entries(stage) if label in (None, entry.label)]
        found.sort(key=by_age, reverse=True)
        return sorted(
            found, key=lambda e: (order.index(e.stage) if e.stage in order else len(order), e.stage, _natural(e.label))
        )

    def with_dependents(self, entries: Sequence[Entry], *, whole_stage: str | None = None) -> list[Entry]:
        """`entries` and everything made from them; with `whole_stage` also all entries of later stages."""
        later = set(self._stages_after(whole_stage)) if whole_stage else set()
        found = {entry.key for entry in entries}
        everything = self.entries()
        with_sources = [(entry, set(entry.made_from.values())) for entry in everything]
        grew = True
        while grew:
            more = {entry.key for entry, sources in with_sources if found & sources or entry.stage in later}
            grew = not more <= found
            found |= more
        return [entry for entry in everything if entry.key in found]

    def freed_by(self, entries: Sequence[Entry]) -> int:
        """Bytes that the next prune frees if `entries` are cleared; bytes that other entries share stay."""
        return self._cache.blobs.held_by(
            (status for entry in entries for status in _files_of(entry)), also=files_of_trash(self.state_folder)
        )

    def bytes_on_disk(self) -> int:
        """Size of all files; hard links count once."""
        return bytes_below(self.state_folder)

    def bytes_by_key(self) -> dict[str, int]:
        """What each entry takes, by key: of equal files once, with the oldest entry, and none that was let go."""
        return bytes_on_disk(sorted(self._cache.entries(), key=by_age))

    def bytes_in_trash(self) -> int:
        """Bytes that emptying the trash frees."""
        return self._cache.blobs.held_by(files_of_trash(self.state_folder))

    def recipes_by_key(self) -> dict[str, list[str]]:
        """For each key the recipes whose latest run used it, by absolute path."""
        last: dict[str, RunStarted] = {}
        for folder in run_folders(self.state_folder):
            started = self._starts.get(folder.path) or _start_of(folder.events)
            if started is None:
                continue
            self._starts[folder.path] = started
            host = folder.host()
            recipe = (host.recipe if host else "") or started.recipe
            if recipe:
                last[os.path.abspath(recipe)] = started
        found: dict[str, list[str]] = {}
        for recipe, started in last.items():
            for key in dict.fromkeys(item.key for item in started.items):
                found.setdefault(key, []).append(recipe)
        return found

    def is_locked(self, key: str) -> bool:
        """Whether a run of any recipe is building `key` now."""
        path = self.state_folder / "locks" / f"{key[:16]}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a read-only cache: nothing is being built in it
            return False

    # Changing

    def clear(self, entries: Sequence[Entry]) -> Cleared:
        """Move entries to the trash; `undo` restores them until the next prune.

        Raises:
            CacheError: they cannot be moved; nothing was cleared.
        """
        return self.trash.clear(entries, self.freed_by(entries))

    def undo(self) -> Cleared | None:
        """Restore what was cleared last; None if there is nothing.

        Raises:
            CacheError: it cannot be moved, or all of it was rebuilt since then.
        """
        return self.trash.undo()

    def prune(self) -> tuple[int, int]:
        """Permanently delete cleared entries, leftovers of killed runs and entries that were set aside. What a living
        process works in stays.

        Returns:
            The number of cleared entries and of leftovers.

        Raises:
            CacheError: it cannot be deleted.
        """
        with self._cache.linking(self.entries()):
            for entry in self.entries():
                if not entry.is_whole:  # what a killed process did not get to
                    release(self._cache, entry)
            cleared = self.trash.empty()
            leftovers = self._cache.remove_leftovers()
            try:
                self._cache.drop_unused_blobs()
            except OSError as error:
                raise CacheError(
                    f"unused files cannot be deleted: {error.strerror or error}",
                    where=str(error.filename or self.state_folder),
                    remedy="this needs write access to the cache directory",
                ) from error
            return cleared, leftovers

    def verify(self) -> int:
        """Compare every file with its digest; entries that differ are set aside. Returns the bytes read."""
        read = 0
        for entry in self.entries():
            problem = entry.altered()
            read += entry.bytes_here
            if problem is not None:
                self._cache.retire(entry)
                self.problems.append(f"{entry.stage} {entry.label}: {problem}")
        return read

    # Inside

    def _stages_after(self, stage: str) -> list[str]:
        side_branches = {name for name, known in registered_stages().items() if known.is_side_branch}
        order = self._order()
        if stage not in order or stage in side_branches:
            return []
        return [name for name in order[order.index(stage) + 1 :] if name not in side_branches]

    def _order(self) -> list[str]:
        from qairt.recipe.recipe import Recipe

        try:
            stages = Recipe.from_yaml(self.state_folder / "recipe.yaml").get("stages")
        except (OSError, QairtError):
            return []
        return list(stages) if isinstance(stages, dict) else []


def _files_of(entry: Entry) -> Iterator[os.stat_result]:
    for name in entry.files:
        with suppress(OSError):
            yield (entry.directory / name).stat()


def _start_of(events: Path) -> RunStarted | None:
    """The first event of a run."""

    try:
        with open_regular(events) as file:
            event = parse_event(parse_json(file.readline()))
    except (OSError, ValueError, ValidationError):
        return None
    return event if isinstance(event, RunStarted) else None


def _natural(label: str) -> list[tuple[str, int]]:
    """`ar128-split2` after `ar1-split10`."""
    return [(name, int(number or 0)) for name, number in re.findall(r"([a-z]+)(\d*)", label)]
