"""`RunState.apply(event)`: folds the events of a run into its state."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from qairt.engine.record import events as ev
from qairt.engine.record.item_state import BUSY, MADE, UNMADE, ItemState, ItemStatus

RunStatus = Literal["planned", "running", "done", "failed", "interrupted"]

_SAMPLES_KEPT = 3600
_LINES_KEPT = 1000


@dataclass
class StageState:
    """One stage, if items of it ran in this run."""

    started: float
    """When its first item started."""
    ended: float | None = None
    """When its latest item, or the stage, ended."""
    running: bool = False


@dataclass
class RunState:
    """The state of one run after the events applied so far; before it starts, the state of its plan."""

    run_id: str = ""
    recipe: str = ""
    cache_dir: str = ""
    status: RunStatus = "planned"
    error: str = ""
    """Why no item began, if the run was refused."""
    scheduler: str = ""
    """Of the cluster whose workers make its items."""
    disk: int = 0
    """Bytes that its cache directory may take; 0 without a limit."""
    host: str = ""
    pid: int = 0
    jobs: int = 1
    cores: int = 1
    memory: int = 0
    ram: int = 0
    started: float = 0.0
    seconds: float = 0.0
    """How long it took; 0 while it runs."""
    now: float = 0.0
    """Time of the last event."""
    seq: int = 0
    """Number of the last event."""
    paused: bool = False
    items: dict[tuple[str, str], ItemState] = field(default_factory=dict)
    log: deque[ev.LogLine] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    samples: deque[ev.ResourceSample] = field(default_factory=lambda: deque(maxlen=_SAMPLES_KEPT))
    peak_ram: int = 0
    """Bytes, of the whole process tree; at least what one item took, which may lie between two samples."""
    stage_starts: list[tuple[float, str]] = field(default_factory=list)
    """When each stage started; some of their items may come from other runs."""
    stage_states: dict[str, StageState] = field(default_factory=dict)
    outputs: dict[tuple[str, str], ev.OutputWritten] = field(default_factory=dict)
    """The latest event about each output, by stage and kind."""
    answers: list[ev.RequestAnswered] = field(default_factory=list)
    _dependents: dict[str, list[ItemState]] = field(default_factory=dict)

    @classmethod
    def of_plan(
        cls,
        entries: Sequence[ev.PlannedEntry],
        *,
        recipe: str = "",
        cache_dir: str = "",
        jobs: int = 1,
        memory: int = 0,
    ) -> RunState:
        """The state before a run starts: cached, stale and new items."""
        state = cls(recipe=recipe, cache_dir=cache_dir, jobs=jobs, memory=memory)
        state._plan(entries)
        for item, entry in zip(state.items.values(), entries, strict=True):
            if not entry.on_demand:
                item.status = "cached" if entry.cached else "stale" if entry.stale else "waiting"
            if entry.cleared:
                item.status, item.cleared = "cleared", entry.cleared
        return state

    def apply(self, event: ev.Event) -> None:
        """Apply one event; events of unknown types are ignored."""
        self.now = max(self.now, event.time)
        self.seq = max(self.seq, event.seq)
        match event:
            case ev.RunStarted():
                self._start(event)
            case ev.StageStarted():
                self.stage_starts.append((event.time, event.stage))
            case ev.StageFinished() if event.stage in self.stage_states:
                stage = self.stage_states[event.stage]
                stage.ended, stage.running = event.time, False
            case ev.OutputWritten():
                self.outputs[event.stage, event.kind] = event
            case ev.WorkersChanged():
                self.jobs, self.memory = event.jobs, event.memory
            case ev.LogLine():
                self.log.append(event)
            case ev.ResourceSample():
                self.samples.append(event)
                self.peak_ram = max(self.peak_ram, event.ram)
            case ev.RequestAnswered():
                self.answers.append(event)
                if event.done and event.action in ("pause", "resume"):
                    self.paused = event.action == "pause"
            case ev.RunFinished():
                self.status, self.seconds, self.error = event.status, event.seconds, event.error
            case _:
                self._apply_to_item(event)

    def _apply_to_item(self, event: ev.Event) -> None:
        match event:
            case ev.CacheHit():
                self._enter(event.stage, event.label, "cached")
            case ev.ItemStarted():
                item = self._enter(event.stage, event.label, "running")
                item.started, item.log, item.reason = event.time, event.log, event.reason
                item.fraction, item.message, item.error, item.key = 0.0, "", None, event.key
                item.first_report, item.host = (0.0, 0.0), event.host
                item.peak_rss, item.cpu_seconds = 0, 0.0
                item.attempt += 1
                self._stage(event).running = True
            case ev.ItemProgress():
                item = self._enter(event.stage, event.label, "running")
                item.take_report(event.fraction, event.time)
                item.message = event.message
            case ev.ItemUsage():
                item = self._item(event.stage, event.label)
                item.peak_rss, item.cpu_seconds = event.peak_rss, event.cpu_seconds
            case ev.ItemShared():
                self._enter(event.stage, event.label, "shared")
            case ev.ItemQuiet():
                item = self._item(event.stage, event.label)
                if item.status in BUSY:  # it may have ended in the meantime
                    item.status, item.quiet_seconds = "quiet" if event.seconds else "running", event.seconds
                    item.stopped_pid = event.stopped_pid
            case ev.ItemFinished():
                item = self._enter(event.stage, event.label, "warn" if event.warnings else "done")
                item.fraction, item.ended, item.message = 1.0, event.time, "; ".join(event.warnings)
                item.seconds = event.seconds
                item.bytes, item.size = event.bytes, event.size
                item.directory = event.directory
                self._stage(event).ended = event.time
                self._take_usage(item, event)
            case ev.ItemFailedEvent():
                item = self._enter(event.stage, event.label, "failed")
                item.error, item.log, item.ended = event.error, event.log, event.time
                item.seconds = event.time - item.started if item.started is not None else 0.0
                self._stage(event).ended = event.time
                self._take_usage(item, event)
            case ev.ItemSkipped():
                item = self._enter(event.stage, event.label, event.kind)
                item.message, item.ended = event.because, event.time
            case ev.ItemWaiting():
                item = self._enter(event.stage, event.label, "waiting")
                item.message, item.error, item.started = "", None, None
                self._update_ready(item)

    def show_cleared(self, cleared: Mapping[str, float]) -> bool:
        """Mark made items whose results were cleared since, and take back the mark of those that were brought back.

        Args:
            cleared: when, by key.

        Returns:
            Whether anything changed.
        """
        changed = False
        for item in self.items.values():
            moment = cleared.get(item.key)
            if moment is not None and item.status in MADE - {"on_demand"} and moment > (item.ended or 0.0):
                item.before, item.status, item.cleared = item.status, "cleared", moment
                changed = True
            elif moment is None and item.status == "cleared" and item.before in MADE:
                item.status, item.cleared = item.before, None
                changed = True
        return changed

    def end_unexpectedly(self) -> None:
        """Its process is gone without a last event: mark running items as interrupted."""
        if self.status != "running":
            return
        self.status, self.seconds = "interrupted", self.now - self.started
        for item in self.items.values():
            if item.status not in MADE | UNMADE:
                item.status, item.message = "interrupted", "the run's process ended"

    def count(self, *statuses: ItemStatus) -> int:
        return sum(item.status in statuses for item in self.items.values())

    def ended(self, *statuses: ItemStatus) -> list[ItemState]:
        """The items that ended so in this run, whatever was cleared since."""
        return [item for item in self.items.values() if item.ended_as in statuses]

    def stages(self) -> list[str]:
        """Stages in order."""
        return list(dict.fromkeys(stage for stage, _ in self.items))

    @property
    def last_sample(self) -> ev.ResourceSample | None:
        return self.samples[-1] if self.samples else None

    def leads_to(self, item: ItemState) -> list[ItemState]:
        """Every item that is made from this one, directly or not, and is not made yet."""
        found: dict[str, ItemState] = {}
        left = [item]
        while left:
            for dependent in self._dependents.get(left.pop().name, ()):
                if dependent.name not in found and dependent.status not in MADE:
                    found[dependent.name] = dependent
                    left.append(dependent)
        return list(found.values())

    # Inside

    def _start(self, event: ev.RunStarted) -> None:
        self.run_id, self.recipe, self.cache_dir = event.run_id, event.recipe, event.cache_dir
        self.status, self.started, self.host, self.pid = "running", event.time, event.host, event.pid
        self.jobs, self.cores, self.memory, self.ram = event.jobs, event.cores, event.memory, event.ram
        self.scheduler, self.disk = event.scheduler, event.disk
        self._plan(event.items)

    def _plan(self, entries: Iterable[ev.PlannedEntry]) -> None:
        for entry in entries:
            item = self._item(entry.stage, entry.label)
            item.coord, item.key, item.reason, item.sources = entry.coord, entry.key, entry.reason, entry.sources
            item.expected_seconds, item.samples = entry.seconds, entry.samples
            item.expected_low, item.expected_high = entry.seconds_low, entry.seconds_high
            item.expected_ram, item.bytes = entry.peak_ram, entry.bytes if entry.cached else 0
            item.size = entry.size
            if entry.on_demand:
                item.status = "on_demand"
            for source in entry.sources:
                self._dependents.setdefault(source, []).append(item)
        for item in self.items.values():
            self._update_ready(item)

    def _enter(self, stage: str, label: str, status: ItemStatus) -> ItemState:
        item = self._item(stage, label)
        item.status = status
        if status in MADE:
            for dependent in self._dependents.get(item.name, ()):
                self._update_ready(dependent)
        return item

    def _update_ready(self, item: ItemState) -> None:
        if item.status == "waiting" and all(self._status(source) in MADE for source in item.sources):
            item.status = "ready"

    def _status(self, name: str) -> ItemStatus | None:
        stage, _, label = name.partition(" ")
        item = self.items.get((stage, label))
        return item.status if item else None

    def _stage(self, event: ev.ItemStarted | ev.ItemFinished | ev.ItemFailedEvent) -> StageState:
        return self.stage_states.setdefault(event.stage, StageState(event.time))

    def _item(self, stage: str, label: str) -> ItemState:
        return self.items.setdefault((stage, label), ItemState(stage, label))

    def _take_usage(self, item: ItemState, event: ev.ItemFinished | ev.ItemFailedEvent) -> None:
        item.peak_rss, item.cpu_seconds = event.peak_rss, event.cpu_seconds
        item.bytes_read, item.bytes_written = event.bytes_read, event.bytes_written
        self.peak_ram = max(self.peak_ram, item.peak_rss)
