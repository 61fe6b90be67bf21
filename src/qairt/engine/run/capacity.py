"""Where an item can run now, and with how many threads: on this machine, within what items may use together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from qairt.engine.plan.disk import DiskLimit
from qairt.engine.plan.planned import PlannedItem

NO_WORKER_REMEDY = "start a worker that can hold it: `qairt worker --help`; finished items are kept"


@dataclass(frozen=True)
class Place:
    """Where an item runs."""

    threads: int
    worker: str = ""
    """Address of a worker of a cluster; empty for this machine."""
    host: str = ""
    """Of that worker."""
    refusal: str = ""
    """Why no worker can make the item; it fails at once."""


@dataclass(frozen=True)
class Computing:
    """An item that uses memory and threads."""

    item: PlannedItem
    place: Place
    alone: bool


class Capacity(Protocol):
    """Decides which items may run beside each other."""

    @property
    def jobs(self) -> int:
        """Items computed at a time."""

    @property
    def disk(self) -> DiskLimit | None:
        """What items may add to the disk; one item always runs."""

    @property
    def grows(self) -> bool:
        """Whether it is worth waiting for a place while nothing runs."""

    def is_full(self, computing: Collection[Computing]) -> bool:
        """Whether not even the smallest item can start."""

    def find(
        self, item: PlannedItem, computing: Collection[Computing], *, alone: bool, contenders: int
    ) -> Place | None:
        """A place for the item; None while there is none.

        Args:
            alone: it may run with nothing beside it only.
            contenders: items that compute or could, among which threads are shared.
        """


@dataclass(frozen=True)
class MachineCapacity:
    """What items may use together on one machine."""

    jobs: int
    memory: int
    """Bytes for the sum of the running items' estimated peaks; one item always runs."""
    cores: int
    """Threads to share. An item gets what it can use, at most `cores // (items that can run beside it)`."""
    disk: DiskLimit | None = None
    grows: bool = False

    def is_full(self, computing: Collection[Computing]) -> bool:
        return len(computing) >= self.jobs

    def find(
        self, item: PlannedItem, computing: Collection[Computing], *, alone: bool, contenders: int
    ) -> Place | None:
        if self.is_full(computing) or (computing and (alone or any(other.alone for other in computing))):
            return None
        free = self.cores - sum(other.place.threads for other in computing)
        used = sum(other.item.peak_ram for other in computing)
        if computing and (free < 1 or used + item.peak_ram > self.memory):
            return None
        share = self.cores if alone else self.cores // max(1, min(self.jobs, contenders))
        return Place(max(1, min(item.task.estimate.threads, share, free)))
