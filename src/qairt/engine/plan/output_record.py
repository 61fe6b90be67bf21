"""`outputs.json` of a cache directory: the predictions and pictures that were written, where, and from what."""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from qairt.files import read_json, write_atomic
from qairt.recipe.output_settings import OutputKind

RECORD = "outputs.json"


class WrittenFile(BaseModel):
    """One file as it was written."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str


class WrittenOutput(BaseModel):
    """The latest output of one stage and kind."""

    model_config = ConfigDict(frozen=True)

    directory: Path
    inputs: dict[str, JsonValue]
    """Everything it depends on: the items by label, the settings, the stage's `output_version`."""
    files: dict[str, WrittenFile]
    """By path below `directory`."""
    time: float
    """Seconds since the epoch."""
    run_id: str = ""

    def missing(self) -> str | None:
        """The first file that is absent or has another size, or None."""
        for name, file in self.files.items():
            try:
                size = (self.directory / name).stat().st_size
            except OSError:
                return f"{name} is missing"
            if size != file.size:
                return f"{name} was changed"
        return None


class OutputRecords:
    """The records of one cache directory; safe to use from several processes at once."""

    def __init__(self, state_folder: Path) -> None:
        self._path = state_folder / RECORD

    def read(self) -> dict[str, dict[OutputKind, WrittenOutput]]:
        """By stage and kind; damaged records are left out, so those outputs are rewritten."""
        try:
            data = read_json(self._path)
        except (OSError, ValueError):
            return {}
        found: dict[str, dict[OutputKind, WrittenOutput]] = {}
        for stage, kinds in data.items() if isinstance(data, dict) else ():
            for kind, record in kinds.items() if isinstance(kinds, dict) else ():
                try:
                    found.setdefault(stage, {})[kind] = WrittenOutput.model_validate(record)
                except ValidationError:
                    continue
        return found

    def get(self, stage: str, kind: OutputKind) -> WrittenOutput | None:
        return self.read().get(stage, {}).get(kind)

    def put(self, stage: str, kind: OutputKind, written: WrittenOutput) -> None:
        """Record an output.

        Raises:
            OSError: the file cannot be written.
        """
        with FileLock(self._path.with_name(f".{RECORD}.lock")):
            records = {
                name: {each: record.model_dump(mode="json") for each, record in kinds.items()}
                for name, kinds in self.read().items()
            }
            records.setdefault(stage, {})[kind] = written.model_dump(mode="json")
            write_atomic(self._path, json.dumps(records, indent=1) + "\n")
