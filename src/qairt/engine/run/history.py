"""Finished runs in `history.jsonl`: one line each, which stays when the run's folder is deleted.

Other readers of that file know such a line by its `run: 1` and pass it over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from qairt import keys
from qairt.engine.cache.cache import Entry
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.summary import RunSummary, read_summary
from qairt.errors import CacheError
from qairt.files import append_line, read_lines

HISTORY = "history.jsonl"


class RunRecord(BaseModel):
    """One finished run."""

    model_config = ConfigDict(frozen=True)

    run: Literal[1] = 1
    """The version of this record, and what tells it from others in the same file."""
    summary: RunSummary
    recipe: dict[str, Any] | None = None
    """With the overrides of that run; None where it cannot be read."""
    recipe_digest: str = ""
    tools: dict[str, Any] = {}
    """See `qairt.engine.plan.tools.tools_of`."""
    sizes: dict[str, int] = {}
    """Bytes of each stage's results, a content once; empty where that was not looked at."""
    size: int = 0
    """Of all together, a content once."""

    @property
    def id(self) -> str:
        return self.summary.id

    def with_true_sizes(self) -> RunSummary:
        """The summary, in which the bytes of what items share count once."""
        stages = tuple(
            stage.model_copy(update={"bytes": self.sizes.get(stage.stage, stage.bytes)})
            for stage in self.summary.stages
        )
        return self.summary.model_copy(update={"stages": stages, "bytes": self.size})


def add_run(folder: RunFolder, entries: Iterable[Entry]) -> None:
    """Add the line of a run that is over. A disk that takes no more costs the line: the folder still has it all.

    Args:
        entries: what it made and reused.
    """
    contents: dict[str, dict[str, int]] = {}
    for entry in entries:
        files = {str(file["sha256"]): int(file["size"]) for file in entry.files.values()}
        contents.setdefault(entry.stage, {}).update(files)
    sizes = {stage: sum(files.values()) for stage, files in contents.items()}
    whole = {digest: size for files in contents.values() for digest, size in files.items()}
    record = record_of(folder).model_copy(update={"sizes": sizes, "size": sum(whole.values())})
    path = folder.path.parents[1] / HISTORY
    with suppress(OSError):
        append_line(path, record.model_dump(mode="json"))


def runs_of(state_folder: Path) -> list[RunRecord]:
    """All finished runs of a cache directory, the oldest first; those that died without a line too, while their folder
    is there."""
    known: dict[tuple[str, float], RunRecord] = {}
    for line in read_lines(state_folder / HISTORY):
        if "run" in line:
            with suppress(ValidationError):
                record = RunRecord.model_validate(line)
                known[_name(record.summary)] = record
    for folder in run_folders(state_folder):
        summary = read_summary(folder)  # what was measured later is in it
        if summary.state not in ("done", "failed", "interrupted"):
            continue
        kept = known.get(_name(summary))
        known[_name(summary)] = kept.model_copy(update={"summary": summary}) if kept else record_of(folder)
    return sorted(known.values(), key=lambda record: (record.summary.started or 0.0, record.id))


def find_run_record(state_folder: Path, run_id: str) -> RunRecord:
    """The latest finished run of that number.

    Raises:
        CacheError: there is none; says which there are.
    """
    records = runs_of(state_folder)
    for record in reversed(records):
        if record.id in (run_id, run_id.zfill(4)):
            return record
    latest = ", ".join(record.id for record in records[-8:])
    raise CacheError(
        f"there is no finished run {run_id}",
        where=str(state_folder),
        remedy=f"there is {latest}" if records else "nothing was run here yet",
    )


def record_of(folder: RunFolder) -> RunRecord:
    """What a run's folder says."""
    recipe = recipe_of_run(folder)
    return RunRecord(
        summary=read_summary(folder),
        recipe=recipe,
        recipe_digest=keys.digest(recipe) if recipe is not None else "",
        tools=tools_of_run(folder),
    )


def recipe_of_run(folder: RunFolder) -> dict[str, Any] | None:
    """The recipe as it was run, None where it cannot be read."""
    try:
        found = yaml.safe_load((folder.path / "recipe.yaml").read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None
    plain: dict[str, Any] | None = keys.plain(found) if isinstance(found, dict) else None
    return plain


def tools_of_run(folder: RunFolder) -> dict[str, Any]:
    """With what it was made; empty for runs of before this was kept."""
    try:
        found = json.loads((folder.path / "tools.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(summary: RunSummary) -> tuple[str, float]:
    """Numbers are given again when the newest run was deleted."""
    return summary.id, round(summary.started or 0.0, 3)
