"""How to run, and how a run ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qairt.engine.plan.planned import Plan
from qairt.errors import ItemFailed
from qairt.machine import available_cores, available_memory


@dataclass(frozen=True)
class RunOptions:
    """How to run, not what: none of this is part of any key."""

    jobs: int = field(default_factory=available_cores)
    memory: int = field(default_factory=available_memory)
    """Bytes that running items may use together."""
    executor: str = "process"
    until: str | None = None
    force: frozenset[str] = frozenset()


@dataclass
class RunResult:
    """How a run ended."""

    run_id: str
    status: str
    """done, failed or interrupted."""
    plan: Plan
    executed: list[str]
    failed: list[ItemFailed]
    failed_outputs: list[ItemFailed] = field(default_factory=list)
    """Outputs for people that could not be written; the items they are of are made all the same."""
    output: Any = None
    """The items' outputs folded back by every stage's `reduce`."""
