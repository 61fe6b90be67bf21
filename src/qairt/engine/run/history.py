"""Finished runs: one line of `history.jsonl` each, which stays when the run's folder is deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from qairt import keys
from qairt.engine.cache.entry import Entry, bytes_on_disk
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.history_file import HistoryFile
from qairt.engine.record.summary import RunSummary, read_summary
from qairt.errors import CacheError
from qairt.files import read_json, read_regular


class RunRecord(BaseModel):
    """One finished run."""

    model_config = ConfigDict(frozen=True)

    run: Literal[1] = 1
    """The version of this record; marks the kind of line."""
    summary: RunSummary
    recipe: dict[str, JsonValue] | None = None
    """With the overrides of that run; None if it cannot be read."""
    recipe_digest: str = ""
    tools: dict[str, JsonValue] = {}
    """See `qairt.engine.plan.tools.tools_of`."""
    sizes: dict[str, int] = {}
    """Bytes of each stage's results, equal files counted once; empty in old records."""
    size: int = 0
    """Bytes of all results, equal files counted once."""

    @property
    def id(self) -> str:
        return self.summary.id

    def with_true_sizes(self) -> RunSummary:
        """The summary, with shared bytes counted once."""
        stages = tuple(
            stage.model_copy(update={"bytes": self.sizes.get(stage.stage, stage.bytes)})
            for stage in self.summary.stages
        )
        return self.summary.model_copy(update={"stages": stages, "bytes": self.size})


def sizes_on_disk(entries: Sequence[Entry]) -> tuple[dict[str, int], int]:
    """Bytes of each stage's results and of all results, see `bytes_on_disk`."""
    by_key = bytes_on_disk(entries)
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry.stage] = sizes.get(entry.stage, 0) + by_key[entry.key]
    return sizes, sum(sizes.values())


def add_run(folder: RunFolder, sizes: Mapping[str, int], size: int) -> None:
    """Add the line of a finished run. On a full disk the line is lost, but the run's folder still has everything.

    Args:
        sizes, size: see `sizes_on_disk`, of all its items, made and reused.
    """
    record = record_of(folder).model_copy(update={"sizes": dict(sizes), "size": size})
    with suppress(OSError):
        HistoryFile(folder.path.parents[1]).append(record.model_dump(mode="json"))


def runs_of(state_folder: Path) -> list[RunRecord]:
    """All finished runs of a cache directory, the oldest first; without a line, those that still have a folder."""
    known: dict[tuple[str, float], RunRecord] = {}
    for line in HistoryFile(state_folder).read("run"):
        with suppress(ValidationError):
            record = RunRecord.model_validate(line)
            known[_name(record.summary)] = record
    for folder in run_folders(state_folder):
        summary = read_summary(folder)  # it may hold later measurements
        if summary.state not in ("done", "failed", "interrupted"):
            continue
        kept = known.get(_name(summary))
        known[_name(summary)] = kept.model_copy(update={"summary": summary}) if kept else record_of(folder)
    return sorted(known.values(), key=lambda record: (record.summary.started or 0.0, record.id))


def find_run_record(state_folder: Path, run_id: str) -> RunRecord:
    """The latest finished run of that number.

    Raises:
        CacheError: there is none; lists the latest ones.
    """
    records = runs_of(state_folder)
    for record in reversed(records):
        if record.id in (run_id, run_id.zfill(4)):
            return record
    latest = ", ".join(record.id for record in records[-8:])
    raise CacheError(
        f"there is no finished run {run_id}",
        where=str(state_folder),
        remedy=f"finished runs: {latest}" if records else "nothing was run in this cache yet",
    )


def record_of(folder: RunFolder) -> RunRecord:
    """The record of a run, from its folder."""
    recipe = recipe_of_run(folder)
    return RunRecord(
        summary=read_summary(folder),
        recipe=recipe,
        recipe_digest=keys.digest(recipe) if recipe is not None else "",
        tools=tools_of_run(folder),
    )


def recipe_of_run(folder: RunFolder) -> dict[str, JsonValue] | None:
    """The recipe as it was run; None if it cannot be read."""
    try:
        found = yaml.safe_load(read_regular(folder.path / "recipe.yaml"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return keys.plain(found) if isinstance(found, dict) else None


def tools_of_run(folder: RunFolder) -> dict[str, JsonValue]:
    """Versions of the tools it was made with; empty for old runs."""
    try:
        found = read_json(folder.path / "tools.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(summary: RunSummary) -> tuple[str, float]:
    """A number is used again after the newest run was deleted."""
    return summary.id, round(summary.started or 0.0, 3)
