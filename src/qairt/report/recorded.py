"""A run as its folder recorded it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.record import events as ev
from qairt.engine.record.events import EventTail
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.state import RunState
from qairt.engine.run.history import recipe_of_run
from qairt.errors import CacheError
from qairt.evaluate.record import differing_settings, recipe_of
from qairt.files import read_json, read_regular
from qairt.report.artifacts import entries_of


class RecordedRun:
    """A run, from the events and files in its folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        tail = EventTail(folder.events)
        self.events = tail.read()
        self.unreadable_events = tail.unknown
        self.state = RunState()
        for event in self.events:
            self.state.apply(event)
        if folder.liveness() == "interrupted":
            self.state.end_unexpectedly()

    @property
    def samples(self) -> list[ev.ResourceSample]:
        return [event for event in self.events if isinstance(event, ev.ResourceSample)]

    @property
    def built_something(self) -> bool:
        return any(item.started is not None for item in self.state.items.values())

    @cached_property
    def recipe(self) -> Mapping[str, object]:
        """The recipe with its overrides; empty when it cannot be read."""
        return recipe_of_run(self.folder) or {}

    def changes(self, recipe_now: Mapping[str, object] | None) -> list[tuple[str, object, object]]:
        """The settings that differ in the recipe now, as `(dotted path, then, now)`; none if either is unknown."""
        if recipe_now is None or not self.recipe:
            return []
        return differing_settings(recipe_of(self.recipe), recipe_of(recipe_now))

    @property
    def recipe_text(self) -> str:
        try:
            return read_regular(self.folder.path / "recipe.yaml").decode(errors="replace")
        except OSError:
            return ""

    @cached_property
    def settings(self) -> Mapping[str, object]:
        """The settings in force; empty when they cannot be read."""
        return _mapping(_resolved(self.folder.path).get("settings"))

    @property
    def configured_stages(self) -> list[str]:
        return list(_mapping(_resolved(self.folder.path).get("stages")))

    @cached_property
    def already_quantized(self) -> str:
        """How the model's weights were stored, if they were quantized before; empty when they were not."""
        try:
            stages = _mapping(read_json(self.folder.path / "plan.json")).get("stages")
        except (OSError, ValueError):
            return ""
        details = [_mapping(_mapping(stage).get("details")) for stage in stages] if isinstance(stages, list) else []
        return next((str(each["already quantized"]) for each in details if "already quantized" in each), "")

    @property
    def model(self) -> str:
        """The model's path or id; empty when the recipe names none."""
        return str(self.recipe.get("model_id_or_path") or self.settings.get("model_id_or_path") or "")

    def entries(self, cache: StageCache) -> dict[tuple[str, str], Entry]:
        """The cache entries of its items, by stage and label."""
        by_key = {entry.key: entry for name in self.state.stages() for entry in entries_of(cache, name)}
        return {
            (item.stage, item.label): by_key[item.key]
            for item in self.state.items.values()
            if item.key in by_key and by_key[item.key].missing() is None
        }


def latest_runs(state_folder: Path, recipe: str) -> tuple[RecordedRun, RecordedRun]:
    """The latest run, and the latest one that built something (if none did, the oldest).

    Args:
        recipe: its arguments, for the remedy.

    Raises:
        CacheError: there is no run yet.
    """
    folders = [folder for folder in run_folders(state_folder) if _has_begun(folder)]
    if not folders:
        raise CacheError(
            "there is nothing to report: no run was started here yet",
            where=str(state_folder),
            remedy=f"qairt run {recipe}",
        )
    latest = builder = RecordedRun(folders[-1])
    for folder in reversed(folders[:-1]):
        if builder.built_something:
            break
        builder = RecordedRun(folder)
    return latest, builder


def _has_begun(folder: RunFolder) -> bool:
    try:
        return folder.events.stat().st_size > 0
    except OSError:
        return False


def _resolved(path: Path) -> Mapping[str, object]:
    try:
        return _mapping(read_json(path / "resolved.json"))
    except (OSError, ValueError):
        return {}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
