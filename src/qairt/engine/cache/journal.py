"""The record of one clear, written before anything moves; and what was cleared, when."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from qairt.engine.cache.manifest import Stages
from qairt.files import read_regular

TRASH = "trash"
JOURNAL = "journal.json"


class Moved(BaseModel):
    """One entry that was cleared."""

    model_config = ConfigDict(frozen=True)

    stage: str
    label: str
    key: str
    place: str
    """Its folder below `pipeline_state` and below the trash: `convert/convert_1a2b3c4d`."""

    @field_validator("place")
    @classmethod
    def _is_inside(cls, place: str) -> str:
        parts = PurePosixPath(place).parts
        if len(parts) != 2 or ".." in parts or place.startswith("/"):
            raise ValueError("not a folder of an entry")
        return place

    @property
    def name(self) -> str:
        return f"{self.stage} {self.label}"


class Journal(BaseModel):
    v: Literal[1] = 1
    step: Literal["clearing", "cleared", "undoing", "superseded"]
    """`superseded`: the remaining entries were rebuilt before they could be restored."""
    bytes: int
    entries: tuple[Moved, ...]
    records: Stages
    """The manifest's records of these stages, with only the cleared items."""
    after: str | None
    """SHA-256 of the manifest after the clear; None if it did not mention these entries."""


def cleared_at(state_folder: Path) -> dict[str, float]:
    """When each entry was cleared that undo can bring back, and that was not made again, by key."""
    found: dict[str, float] = {}
    try:
        folders = [path for path in (state_folder / TRASH).iterdir() if path.name.isdecimal()]
    except OSError:
        return found
    for folder in folders:
        try:
            journal = Journal.model_validate_json(read_regular(folder / JOURNAL))
            when = (folder / JOURNAL).stat().st_mtime
        except (OSError, ValidationError):  # unusable: nothing of it can be brought back
            continue
        if journal.step == "cleared":
            for moved in journal.entries:
                if (folder / moved.place).is_dir() and not (state_folder / moved.place).exists():
                    found[moved.key] = max(when, found.get(moved.key, 0.0))
    return found
