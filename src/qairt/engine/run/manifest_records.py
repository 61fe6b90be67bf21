"""What the manifest says after a run: every stage of its plan, from the entries that it made or reused."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.cache.manifest import PipelineManifest, StageRecord, Stages, config_text, item_record
from qairt.engine.plan.planned import Plan, PlannedItem, StagePlan
from qairt.recipe.recipe import Recipe

if TYPE_CHECKING:
    from pydantic import JsonValue


class ManifestRecords:
    """Writes the records of one run.

    Args:
        recipe: tells what presets added to a stage's settings.
        stages: the names of all its stages, also of those that were not requested.
        not_kept: stages whose results are deleted when the run has ended.
    """

    def __init__(
        self, manifest: PipelineManifest, recipe: Recipe, stages: Collection[str], not_kept: Collection[str]
    ) -> None:
        self._manifest, self._recipe = manifest, recipe
        self._stages, self._not_kept = stages, not_kept

    def stage_ended(self, planned: StagePlan) -> None:
        """Record one stage, with the items that are finished.

        Raises:
            CacheError: the manifest cannot be written.
        """
        record = self._record(planned)
        if record is not None:
            self._manifest.change(lambda stages: stages.__setitem__(planned.stage.name, record))

    def run_ended(self, plan: Plan) -> None:
        """Record all stages, in order. Those that this run did not get to keep their records; other recipes' go.

        Raises:
            CacheError: the manifest cannot be written.
        """

        def change(stages: Stages) -> None:
            others = {name: record for name, record in stages.items() if name in self._stages}
            stages.clear()
            for planned in plan.stages:
                others.pop(planned.stage.name, None)
                record = self._record(planned)
                if record is not None:
                    stages[planned.stage.name] = record
            stages.update(others)

        self._manifest.change(change)

    def _record(self, planned: StagePlan) -> StageRecord | None:
        """The record of a stage; None if it has no finished item."""
        name, kept = planned.stage.name, planned.stage.name not in self._not_kept
        items = {item.label: _item_record(item, kept) for item in planned.items if item.entry is not None}
        if not items:
            return None
        record: StageRecord = {
            "artifact_path": None,
            "timestamp": max(str(record["timestamp"]) for record in items.values()),
        }
        if len(items) == len(planned.items):
            (only, *more) = planned.items
            assert only.entry is not None
            directory = only.entry.directory.parent if more else only.entry.directory
            preset = self._recipe.preset_values(("stages", name, "output"))
            added = {path[2:]: value for path, value in preset.items()}
            record["artifact_path"] = str(directory) if kept else None
            record["config"] = config_text(planned.stage.config, added)
            record["cache_key"] = keys.digest({item.label: item.key for item in planned.items}) if more else only.key
        return record | {"items": dict(items)}


def _item_record(item: PlannedItem, kept: bool) -> dict[str, JsonValue]:
    entry = item.entry
    assert entry is not None
    record = item_record(entry) | {"timestamp": entry.timestamp}
    return record if kept else record | {"artifact_path": None}
