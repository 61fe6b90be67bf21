"""The options of a run, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from qairt.engine.plan.planned import Plan
from qairt.engine.record.events import EndStatus
from qairt.errors import ItemFailed
from qairt.machine import available_cores, available_memory


@dataclass(frozen=True)
class RunOptions:
    """How to run; none of this is part of a cache key."""

    jobs: int = field(default_factory=available_cores)
    memory: int | None = None
    """Bytes that running items may use in total; what is free by default."""
    disk: int | None = None
    """Bytes that the cache directory may take; what the disk has by default."""
    executor: str = "process"
    scheduler: str = ""
    """Address of the Dask scheduler whose workers make items, for the executor `dask`."""
    until: str | None = None
    force: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    """Names of items that are made whole though nothing needs them."""

    @cached_property
    def ram(self) -> int:
        """`memory`, or what is free when it is first asked."""
        return available_memory() if self.memory is None else self.memory


@dataclass
class RunResult:
    """The result of a run."""

    run_id: str
    status: EndStatus
    plan: Plan
    executed: list[str]
    failed: list[ItemFailed]
    failed_outputs: list[ItemFailed] = field(default_factory=list)
    """Predictions and pictures that could not be written; the items are finished all the same."""
    output: Any = None
    """The outputs of the last stage, folded back by every stage's `reduce`; None if the run did not finish."""
