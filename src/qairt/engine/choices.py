"""What runs chose where the recipe leaves it open: kept in the cache directory, so that every later command plans the
items that were built, whatever the machine and its limits are by then.

    pipeline_state/choices.json    {"num_splits": {"3f2a…": {"value": 9, "why": "with 8, …"}}}
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from qairt.files import read_regular, set_aside, write_atomic

CHOICES = "choices.json"


@dataclass(frozen=True)
class Chosen:
    value: Annotated[int, Field(gt=0)]
    why: str


_KEPT = TypeAdapter(dict[str, dict[str, Chosen]])


@dataclass
class Choices:
    """Those of a cache directory. Losing the file costs at most a build.

    Args:
        path: of the file; None to keep nothing.
    """

    path: Path | None = None
    _made: dict[str, dict[str, Chosen]] = field(default_factory=dict)

    def known(self, setting: str, key: str) -> Chosen | None:
        """What an earlier run chose.

        Args:
            setting: what was chosen.
            key: everything that it was chosen for, but not the machine and its limits.
        """
        return self._read().get(setting, {}).get(key)

    def make(self, setting: str, key: str, chosen: Chosen) -> None:
        """Choose, for this process until `keep` is called."""
        self._made.setdefault(setting, {})[key] = chosen

    def keep(self) -> None:
        """Write what was chosen, beside what others chose.

        Raises:
            OSError: the cache directory cannot be written.
        """
        if not self._made or self.path is None:
            return
        kept = self._read()
        for setting, made in self._made.items():
            kept[setting] = kept.get(setting, {}) | made
        if self.path.exists() and not self.path.is_file():
            set_aside(self.path)
        as_json = {name: {key: asdict(chosen) for key, chosen in made.items()} for name, made in kept.items()}
        write_atomic(self.path, json.dumps(as_json, indent=1) + "\n")
        self._made = {}

    def _read(self) -> dict[str, dict[str, Chosen]]:
        with suppress(OSError, ValidationError):
            if self.path is not None:
                return _KEPT.validate_json(read_regular(self.path))
        return {}
