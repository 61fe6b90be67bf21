"""Machines that share a store: cache directories of their own, with the toy stages."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.record.events import Event, LogLine
from qairt.engine.run.options import RunOptions
from qairt.engine.shared_store.patience import Limits
from qairt.engine.shared_store.settings import StoreSettings
from qairt.engine.shared_store.shared_store import SharedStore

CALM = Limits(answer=40.0, listing=40.0, silent=40.0, fetch=120.0, judged=40.0, leave=40.0)
"""For tests of what answers: a machine that is busy with other things is waited for."""
FAST = Limits(answer=1.5, listing=2.0, silent=1.0, fetch=1.0, judged=0.3, leave=5.0)
"""For tests of what does not: it is given up soon."""
MADE = ["source all", "fan ar1", "fan ar2", "upper ar2", "join all"]


@dataclass
class Machine:
    """One machine's cache, and what its latest run said."""

    folder: Path
    url: str
    mode: str = "read-write"
    allow_from: tuple[str, ...] = ()
    limits: Limits = CALM
    stages: tuple[Any, ...] = ()
    events: list[Event] = field(default_factory=list)

    def store(self) -> SharedStore:
        settings = StoreSettings(url=self.url, mode=self.mode, allow_from=self.allow_from)  # type: ignore[arg-type]
        return SharedStore(settings, self.folder / "pipeline_state", self.limits)

    def pipeline(self, store: SharedStore | None = None) -> Pipeline:
        stages = self.stages or (toy.Source(), toy.Fan(), toy.Upper(), toy.Join())
        return Pipeline(stages, self.folder, store=store or self.store())

    def run(self, *, force: tuple[str, ...] = (), store: SharedStore | None = None) -> Pipeline:
        """Run everything in this process."""
        pipeline = self.pipeline(store)
        self.events = []
        pipeline.add_listener(self.events.append)
        return pipeline.construct(RunOptions(jobs=2, memory=10**9, executor="inline", force=frozenset(force)))

    @property
    def told(self) -> list[str]:
        """The warnings of the latest run."""
        return [event.message for event in self.events if isinstance(event, LogLine) and event.level == "warning"]

    def result(self) -> str:
        """The text that the last stage made."""
        (path,) = self.folder.glob("pipeline_state/join/join_*/joined.txt")
        return path.read_text()


def set_credentials(monkeypatch: Any, port: int) -> None:
    """Of the stand-in for S3 on a port of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
