"""What stages can use to describe their work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from qairt.engine.choices import Choices
from qairt.engine.digests import BYTES, Content, FileDigests
from qairt.engine.stage_config import StageConfig

FactT = TypeVar("FactT")


@dataclass
class Env:
    """The recipe's settings and what stages found out so far; never the content of an artifact."""

    settings: BaseModel | None
    """The recipe's top-level settings; None for stages that were configured without a recipe."""
    configs: Mapping[str, StageConfig]
    digests: FileDigests
    suppress_performance_warnings: bool = False
    memory: int | None = None
    """Bytes of RAM that the user lets the run take; None if nobody said."""
    choices: Choices = field(default_factory=Choices)
    facts: dict[str, Any] = field(default_factory=dict)
    files_read: dict[str, set[Path]] = field(default_factory=dict)
    """By stage."""

    def once(self, name: str, find: Callable[[], FactT]) -> FactT:
        """A fact that several stages need, such as the model's shape; found out once."""
        if name not in self.facts:
            self.facts[name] = find()
        fact: FactT = self.facts[name]
        return fact

    def digest(self, stage: str, path: Path, content: Content = BYTES) -> str:
        """SHA-256 of a file that `stage` reads, or of its `content`; checked again after its items ran."""
        self.files_read.setdefault(stage, set()).add(path)
        return self.digests.see(path, content)
