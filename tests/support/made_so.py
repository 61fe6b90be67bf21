"""Changing a file of a finished item as if its stage had written it so: the change is content, not damage."""

from __future__ import annotations

import json
from pathlib import Path

from qairt.engine.cache.entry import ENTRY
from qairt.files import sha256_of


def record_as_made(file: Path) -> None:
    """Record a changed file of an entry."""
    folder = next(folder for folder in file.parents if (folder / ENTRY).is_file())
    record = json.loads((folder / ENTRY).read_text())
    record["files"][str(file.relative_to(folder))] = {"size": file.stat().st_size, "sha256": sha256_of(file)}
    (folder / ENTRY).write_text(json.dumps(record))
