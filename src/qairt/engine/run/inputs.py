"""What items of a run read: outputs of the items before them, and files outside the cache."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.cache.cache import StageCache
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.stage import AnyStage, Env, Item, StageOutput
from qairt.errors import CacheError, ItemFailed
from qairt.files import log_tail

if TYPE_CHECKING:
    from pydantic import JsonValue


class ItemInputs:
    """Reads outputs from the cache, each once."""

    def __init__(self, cache: StageCache, env: Env) -> None:
        self._cache = cache
        self._env = env
        self._outputs: dict[str, StageOutput] = {}
        self._lock = threading.Lock()

    def output(self, item: PlannedItem) -> StageOutput:
        """The output of a finished item.

        Raises:
            CacheError: its entry is gone.
        """
        with self._lock:
            known = self._outputs.get(item.key)
        if known is not None:
            return known
        output = self._cache.get(item.key, type(item.stage))
        if output is None:
            raise CacheError(
                f"the result of {item.name} disappeared while it was needed",
                where=str(self._cache.cache_dir / item.stage.name),
                remedy="run again: it will be rebuilt",
            )
        with self._lock:
            self._outputs[item.key] = output
        return output

    def handle(self, item: PlannedItem) -> Item:
        """The handle of a finished item, with its output."""
        directory = item.entry.directory if item.entry else None
        return Item(
            stage=item.stage.name, coord=item.coord, key=item.key, directory=directory, output=self.output(item)
        )

    def fields(self, stage: AnyStage, source: PlannedItem) -> dict[str, JsonValue]:
        """The fields of the stage's input type, each from the nearest output upstream that has it."""
        fields: dict[str, JsonValue] = {}
        missing = set(stage.input_type.model_fields)
        level = [source]
        while level and missing:
            next_level: list[PlannedItem] = []
            for item in level:
                output = self.output(item)
                for name in missing & set(type(output).model_fields):
                    fields[name] = output.model_dump(mode="json", include={name})[name]
                    missing.discard(name)
                next_level += item.sources
            level = next_level
        return fields

    def require_unchanged_files(self, item: PlannedItem, log: Path) -> None:
        """Check that files outside the cache are the ones that were digested for the key.

        Args:
            log: of the item; its end goes into the error.

        Raises:
            ItemFailed: one changed while the item ran.
        """
        for path in self._env.files_read.get(item.stage.name, ()):
            if self._env.digests.changed_since_seen(path):
                raise ItemFailed(
                    f"{path} changed while this item read it",
                    stage=item.stage.name,
                    label=item.label,
                    remedy="its result was not kept; run again",
                    log_tail=log_tail(log),
                )
