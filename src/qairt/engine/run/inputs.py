"""What items of a run read: outputs of the items before them, and files outside the cache."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.axes import Coord
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.plan.reads import items_read, read_by
from qairt.engine.record.tool_lines import last_lines
from qairt.engine.stage import AnyStage, Env, Item, StageOutput
from qairt.errors import CacheError, ItemFailed

if TYPE_CHECKING:
    from pydantic import JsonValue


class ItemInputs:
    """Reads outputs from the cache, each once."""

    def __init__(self, cache: StageCache, env: Env) -> None:
        self._cache = cache
        self._env = env
        self._outputs: dict[str, tuple[int, StageOutput]] = {}
        """By key: the inode of the entry's folder, which another run may exchange, and the output."""
        self._lock = threading.Lock()

    def output(self, item: PlannedItem) -> StageOutput:
        """The output of a finished item; it may name files that were let go, which the plan has nobody read.

        Raises:
            CacheError: its entry is gone.
        """
        with self._lock:
            known = self._outputs.get(item.key)
        if known is not None and known[0] == _inode(item):
            return known[1]
        inode = _inode(item)
        output = self._cache.get(item.key, type(item.stage), in_part=True)
        if output is None:
            raise CacheError(
                f"the result of {item.name} disappeared while it was needed",
                where=str(self._cache.cache_dir / item.stage.name),
                remedy="run again: it will be rebuilt",
            )
        with self._lock:
            self._outputs[item.key] = (inode, output)
        return output

    def result_of(self, plan: Plan) -> Mapping[Coord, object]:
        """The outputs of a finished plan's last stage, folded back by every stage's `reduce`.

        Raises:
            CacheError: an entry is gone.
        """
        results: Mapping[Coord, object] = {coord: self.output(item) for coord, item in plan.stages[-1].batch.items()}
        for planned in reversed(plan.stages):
            if not planned.stage.is_side_branch:
                results = planned.stage.reduce(results, self._env, planned.expansion.token)
        return results

    def reading(self, item: PlannedItem) -> AbstractContextManager[None]:
        """Keep everything in place that the item reads, while inside."""
        return self._cache.readers.reading(read.key for read in items_read(item))

    def handle(self, item: PlannedItem) -> Item:
        """The handle of a finished item, with its output."""
        directory = item.entry.directory if item.entry else None
        return Item(
            stage=item.stage.name, coord=item.coord, key=item.key, directory=directory, output=self.output(item)
        )

    def fields(self, stage: AnyStage, source: PlannedItem) -> dict[str, JsonValue]:
        """The fields of the stage's input type, each from the nearest output upstream that has it."""
        fields: dict[str, JsonValue] = {}
        for item, names in read_by(stage, source):
            fields |= self.output(item).model_dump(mode="json", include=names)
        return fields

    def entries(self, item: PlannedItem) -> list[Entry]:
        """The entries of everything that the item is made from."""
        return [source.entry for source in item.upstream if source.entry is not None]

    def reads_files(self, item: PlannedItem) -> bool:
        """Whether it reads files outside the cache, which no other machine has."""
        return bool(item.task.paths or self._files_read(item))

    def require_unchanged_files(self, item: PlannedItem, log: Path) -> None:
        """Check that files outside the cache are the ones that were digested for the keys of this run.

        Args:
            log: of the item; its end goes into the error.

        Raises:
            ItemFailed: one has changed.
        """
        for path in sorted(self._files_read(item)):
            if self._env.digests.changed_since_seen(path):
                raise ItemFailed(
                    f"{path} changed after this run began",
                    stage=item.stage.name,
                    label=item.label,
                    remedy="nothing was made from it that is kept: run again",
                    log_tail=last_lines(log),
                )

    def _files_read(self, item: PlannedItem) -> set[Path]:
        """What its stage digested, and what an earlier stage digested of the paths that it reads as well."""
        files = self._env.files_read
        own = files.get(item.stage.name, set())
        paths = set(item.task.paths.values())
        return own | {path for group in files.values() for path in group if not paths.isdisjoint((path, *path.parents))}


def _inode(item: PlannedItem) -> int:
    """Of the entry's folder; 0 if there is none."""
    try:
        return item.entry.directory.stat().st_ino if item.entry is not None else 0
    except OSError:
        return 0
