"""A run of toy stages with large texts, whose files in between may be let go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import toy_stages as toy

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.pipeline import Pipeline
from qairt.engine.record.events import Event, LogLine
from qairt.engine.run.options import RunOptions

LONG = "x" * 5000
"""A text that is large enough to be let go."""
MADE = ["source all", "fan ar1", "fan ar2", "upper ar1", "upper ar2", "join all"]


class Fan(toy.Fan):
    worth = "intermediate"


class Upper(toy.Upper):
    worth = "intermediate"

    def applies_to(self, coord: Any) -> bool:
        return True


class Retained:
    """One cache directory, and what its latest run said."""

    def __init__(self, folder: Path, *, keep: Any = "results", store: Any = None) -> None:
        self.folder, self.keep, self.store = folder, keep, store
        self.suffix = ""
        self.fan: dict[str, Any] = {}
        self.source: Any = toy.Source(toy.SourceConfig(text=LONG))
        self.upper: type[Any] = Upper
        self.events: list[Event] = []

    def pipeline(self) -> Pipeline:
        stages = (
            self.source,
            Fan(toy.FanConfig(**self.fan)),
            self.upper(),
            toy.Join(toy.JoinConfig(suffix=self.suffix)),
        )
        return Pipeline(stages, self.folder, keep=self.keep, store=self.store)

    def run(self, **options: Any) -> Pipeline:
        pipeline = self.pipeline()
        self.events = []
        pipeline.add_listener(self.events.append)
        for name in ("asked", "force"):
            options[name] = frozenset(options.get(name, ()))
        chosen: dict[str, Any] = {"jobs": 2, "memory": 10**9, "executor": "inline"} | options
        return pipeline.construct(RunOptions(**chosen))

    @property
    def cache(self) -> StageCache:
        return StageCache(self.folder)

    def entries(self) -> dict[str, Entry]:
        return {f"{entry.stage} {entry.label}": entry for entry in self.cache.entries()}

    def whole(self) -> list[str]:
        """The items whose files are all here."""
        return sorted(name for name, entry in self.entries().items() if entry.is_whole)

    @property
    def told(self) -> list[str]:
        """The warnings of the latest run."""
        return [event.message for event in self.events if isinstance(event, LogLine) and event.level == "warning"]

    def result(self) -> str:
        (path,) = self.folder.glob("pipeline_state/join/join_*/joined.txt")
        return path.read_text()
