"""`metrics.json` of a cache directory: a section for each stage, of the latest run that ran it, and for evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from qairt.files import read_json, set_aside, write_atomic

if TYPE_CHECKING:
    from pydantic import JsonValue

METRICS_FILE = "metrics.json"


class MetricsFile:
    """The metrics of one cache directory. Every change is one atomic replacement under a file lock."""

    def __init__(self, state_folder: Path) -> None:
        self.path = state_folder / METRICS_FILE

    def read(self) -> dict[str, JsonValue]:
        """All sections by name; empty if the file is absent or damaged."""
        return self._sections() or {}

    def is_damaged(self) -> bool:
        """Whether the file exists but does not hold sections: the next change sets it aside."""
        return os.path.lexists(self.path) and self._sections() is None

    def section(self, name: str) -> dict[str, JsonValue]:
        """One section; empty if there is none."""
        section = self.read().get(name)
        return section if isinstance(section, dict) else {}

    def change(self, change: Callable[[dict[str, JsonValue]], object]) -> None:
        """Let `change` alter the sections in place.

        Raises:
            OSError: the file cannot be written.
        """
        with FileLock(self.path.with_suffix(".lock")):
            if self.is_damaged():
                set_aside(self.path)
            content = self.read()
            change(content)
            write_atomic(self.path, json.dumps(content, indent=2, default=str) + "\n")

    def _sections(self) -> dict[str, JsonValue] | None:
        try:
            content = read_json(self.path)
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None
