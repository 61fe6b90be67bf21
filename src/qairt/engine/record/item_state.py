"""One item of a run: its status and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import JsonValue

ItemStatus = Literal[
    "waiting",
    "ready",
    "running",
    "quiet",
    "done",
    "cached",
    "shared",
    "stale",
    "warn",
    "failed",
    "blocked",
    "cancelled",
    "interrupted",
    "cleared",
    "on_demand",
]

MADE: frozenset[ItemStatus] = frozenset({"done", "warn", "cached", "on_demand"})
BUSY: frozenset[ItemStatus] = frozenset({"running", "quiet", "shared"})
UNMADE: frozenset[ItemStatus] = frozenset({"failed", "blocked", "cancelled", "interrupted"})
"""States in which an item stays unless it is retried."""

AT_MOST = 0.95
"""The most progress that is assumed of an item that reports none."""


@dataclass
class ItemState:
    """One item."""

    stage: str
    label: str
    coord: tuple[tuple[str, int], ...] = ()
    key: str = ""
    status: ItemStatus = "waiting"
    reason: str = ""
    """Why it runs; empty if it is cached."""
    host: str = ""
    """Of the cluster's worker that makes it."""
    sources: tuple[str, ...] = ()
    expected_seconds: float = 0.0
    expected_low: float = 0.0
    expected_high: float = 0.0
    samples: int = 0
    expected_ram: int = 0
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    fraction: float = 0.0
    """Progress as its tool reports it; 0 without a report. It never falls within one attempt."""
    first_report: tuple[float, float] = (0.0, 0.0)
    """The first fraction above 0 that was reported, and what the clock said then."""
    message: str = ""
    quiet_seconds: float = 0.0
    stopped_pid: int = 0
    attempt: int = 0
    peak_rss: int = 0
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes: int = 0
    """Added to the disk."""
    size: int = 0
    """Bytes of its files."""
    directory: str = ""
    log: str = ""
    error: dict[str, JsonValue] | None = None
    cleared: float | None = None
    """When its result was cleared."""
    before: ItemStatus = "waiting"
    """What it was before that."""

    @property
    def written(self) -> int:
        """Bytes of its files. Records of earlier versions hold only what it added to the disk."""
        return self.size or self.bytes

    @property
    def ended_as(self) -> ItemStatus:
        """How it ended in this run, whatever was cleared since."""
        return self.before if self.status == "cleared" and self.before in MADE else self.status

    @property
    def name(self) -> str:
        return f"{self.stage} {self.label}"

    def by_clock(self, now: float) -> float:
        """Its progress by the expected time, which never says done; 0 if none is expected."""
        if self.started is None or not self.expected_seconds:
            return 0.0
        return min(max(now - self.started, 0.0) / self.expected_seconds, AT_MOST)

    @property
    def name_and_host(self) -> str:
        """`convert ar1-split2 on box7`; its name alone on the run's own machine."""
        return f"{self.name} on {self.host}" if self.host else self.name

    def take_report(self, fraction: float, now: float) -> None:
        """Its tool reports how far it is."""
        if fraction > 0 and not self.fraction:
            self.first_report = (min(fraction, 1.0), self.by_clock(now))
        self.fraction = max(self.fraction, fraction)
