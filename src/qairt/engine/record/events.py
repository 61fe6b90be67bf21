"""The events of a run: small records, one JSON line each in `runs/{run_id}/events.jsonl`.

The command line, `--json`, the terminal interface, the report and observers read only this stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from time import time as now
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from qairt.files import open_regular, parse_json

VERSION = 1
"""Of the records; raised when a reader of the old version would misread the new one."""

EndStatus = Literal["done", "failed", "interrupted"]
SkipKind = Literal["blocked", "cancelled", "interrupted"]
OutputStatus = Literal["writing", "written", "current", "failed"]


class Event(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True)

    v: int = VERSION
    seq: int = 0
    """Number within the run, from 1; set by the event stream."""
    time: float = Field(default_factory=now)
    """Seconds since the epoch."""
    mono: float = 0.0
    """Seconds of a monotonic clock of that machine; set by the event stream."""


class PlannedEntry(BaseModel):
    """One item of the plan, as a run announces it."""

    stage: str
    label: str
    coord: tuple[tuple[str, int], ...] = ()
    key: str
    cached: bool
    on_demand: bool = False
    """It is not here, and nobody needs it: it is made when somebody does."""
    stale: bool = False
    """It was made before, from different inputs."""
    cleared: float = 0.0
    """When its result was cleared, which undo can bring back; 0 if it was not."""
    stored: bool = False
    """It is fetched from the shared store."""
    reason: str
    sources: tuple[str, ...] = ()
    """The items it depends on, as `stage label`."""
    seconds: float
    """Expected; from history if there is any."""
    seconds_low: float = 0.0
    seconds_high: float = 0.0
    """Half of its earlier runs took between the two."""
    samples: int = 0
    """Earlier runs that the expectation is based on; 0 for an estimate by size."""
    peak_ram: int = 0
    """Bytes, expected."""
    bytes: int = 0
    """Stored for it, or expected to be."""
    size: int = 0
    """Bytes of its files, if cached."""
    from_history: bool


class RunStarted(Event):
    type: Literal["run_started"] = "run_started"
    run_id: str
    recipe: str
    cache_dir: str
    pid: int
    host: str = ""
    jobs: int
    cores: int = 0
    memory: int
    """Bytes that running items may use in total."""
    ram: int = 0
    """Bytes of RAM of the machine or container."""
    scheduler: str = ""
    """Of the cluster whose workers make items."""
    disk: int = 0
    """Bytes that the cache directory may take; 0 without a limit."""
    seconds: float = 0.0
    """How long it is expected to take; 0 in old records."""
    seconds_low: float = 0.0
    seconds_high: float = 0.0
    """Four of five such runs end between the two."""
    items: list[PlannedEntry]


class CacheHit(Event):
    type: Literal["cache_hit"] = "cache_hit"
    stage: str
    label: str
    key: str


class ItemStarted(Event):
    type: Literal["item_started"] = "item_started"
    stage: str
    label: str
    key: str
    reason: str
    pid: int | None = None
    log: str
    threads: int
    host: str = ""
    """Of the cluster's worker that makes it; empty on the run's own machine."""


class ItemProgress(Event):
    type: Literal["item_progress"] = "item_progress"
    stage: str
    label: str
    fraction: float
    message: str = ""


class ItemUsage(Event):
    """What a running item has used so far, on whatever machine; sent again when its memory has grown by a quarter."""

    type: Literal["item_usage"] = "item_usage"
    stage: str
    label: str
    peak_rss: int
    """Bytes, of its largest process."""
    cpu_seconds: float


class ItemFinished(Event):
    type: Literal["item_finished"] = "item_finished"
    stage: str
    label: str
    key: str
    seconds: float
    peak_rss: int
    """Bytes."""
    bytes: int
    """Added to the disk; files that were stored before are linked."""
    size: int = 0
    """Bytes of its files."""
    directory: str
    warnings: tuple[str, ...] = ()
    """Problems with its result."""
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0


class ItemShared(Event):
    """Another run is making it, and this one waits."""

    type: Literal["item_shared"] = "item_shared"
    stage: str
    label: str


class ItemQuiet(Event):
    """It runs, but has printed and computed nothing for `seconds`; 0 once it is active again."""

    type: Literal["item_quiet"] = "item_quiet"
    stage: str
    label: str
    seconds: float
    stopped_pid: int = 0
    """Its process that a signal (SIGSTOP) has stopped, if that is why."""


class ItemFailedEvent(Event):
    type: Literal["item_failed"] = "item_failed"
    stage: str
    label: str
    error: dict[str, JsonValue]
    log: str
    peak_rss: int = 0
    """Bytes; this and the following are 0 if its process died."""
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0


class ItemSkipped(Event):
    """Not run, because an item it depends on failed or the run was interrupted."""

    type: Literal["item_skipped"] = "item_skipped"
    stage: str
    label: str
    because: str
    kind: SkipKind = "blocked"


class ItemWaiting(Event):
    """It will run after all: it, or an item it depends on, is retried."""

    type: Literal["item_waiting"] = "item_waiting"
    stage: str
    label: str


class RequestAnswered(Event):
    """The answer to a request."""

    type: Literal["request_answered"] = "request_answered"
    request: str
    """Its id."""
    action: str
    done: bool
    message: str


class StageStarted(Event):
    type: Literal["stage_started"] = "stage_started"
    stage: str


class StageFinished(Event):
    type: Literal["stage_finished"] = "stage_finished"
    stage: str


class OutputWritten(Event):
    """Predictions or pictures of a stage: being written, written, up to date, or failed."""

    type: Literal["output"] = "output"
    stage: str
    kind: Literal["prediction", "visualization"]
    status: OutputStatus
    directory: str
    reason: str = ""
    """Why it is written."""
    message: str = ""
    """The current step."""
    fraction: float = 0.0
    files: tuple[str, ...] = ()
    """Paths below `directory`."""
    bytes: int = 0
    seconds: float = 0.0
    error: dict[str, JsonValue] | None = None


class WorkersChanged(Event):
    """Workers joined or left the run's cluster: how many are there now, and what can run at a time, here or there."""

    type: Literal["workers_changed"] = "workers_changed"
    workers: int
    jobs: int
    memory: int
    """Bytes for all running items together."""


class LogLine(Event):
    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class ResourceSample(Event):
    """RAM of the process tree in bytes, CPU in percent of one core; GPU fields are None without a GPU.

    `disk` are the bytes of the cache directory where it has a limit, `disk_free` those that are left on its disk.
    `machine_ram` and `machine_cpu_percent` are those of all programs of the machine; None where they were not recorded.
    """

    type: Literal["resource_sample"] = "resource_sample"
    ram: int
    cpu_percent: float
    gpu_memory: int | None = None
    gpu_memory_total: int | None = None
    gpu_percent: float | None = None
    machine_ram: int | None = None
    machine_cpu_percent: float | None = None
    disk: int | None = None
    disk_free: int | None = None


class RunFinished(Event):
    type: Literal["run_finished"] = "run_finished"
    status: EndStatus
    seconds: float
    executed: int
    cached: int
    failed: int
    error: str = ""
    """Why no item could begin, and the remedy."""


AnyEvent = Annotated[
    RunStarted
    | CacheHit
    | ItemStarted
    | ItemProgress
    | ItemUsage
    | ItemFinished
    | ItemShared
    | ItemQuiet
    | ItemFailedEvent
    | ItemSkipped
    | ItemWaiting
    | RequestAnswered
    | WorkersChanged
    | StageStarted
    | StageFinished
    | OutputWritten
    | LogLine
    | ResourceSample
    | RunFinished,
    Field(discriminator="type"),
]


@cache
def _adapter() -> TypeAdapter[AnyEvent]:
    """Made when the first event is read: a plan reads none."""
    return TypeAdapter(AnyEvent)


def parse_event(data: Mapping[str, object]) -> AnyEvent:
    """An event from its JSON form.

    Raises:
        pydantic.ValidationError: the record is not an event of this version.
    """
    return _adapter().validate_python(data)


class EventTail:
    """Reads a file of events as it grows. An incomplete last line waits for its rest; damaged lines are skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unknown = 0
        """How many records are damaged or not known to this version."""
        self.newer = False
        """Whether a newer version wrote some of those."""
        self._offset = 0
        self._torn = b""

    def read(self) -> list[AnyEvent]:
        """The events written since the last call; none if there is no file."""
        try:
            with open_regular(self.path) as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._torn = (self._torn + data).split(b"\n")
        events: list[AnyEvent] = []
        for line in lines:
            try:
                events.append(_adapter().validate_json(line))
            except ValidationError:
                self.unknown += 1
                self.newer = self.newer or _version(line) > VERSION
        return events


def read_events(path: Path) -> list[AnyEvent]:
    """The events of a file so far, without an incomplete last line and records of newer versions."""
    return EventTail(path).read()


def _version(line: bytes) -> int:
    try:
        return int(parse_json(line)["v"])
    except (ValueError, KeyError, TypeError):
        return 0
