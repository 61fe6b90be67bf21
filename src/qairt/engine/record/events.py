"""What the engine says while it works: small records, one JSON line each in `runs/{run_id}/events.jsonl`.

The command line, `--json`, the terminal interface, the report and observers read this one stream and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import time as now
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

VERSION = 1
"""Of the records; raised when a reader of the old one would misread the new."""


class Event(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True)

    v: int = VERSION
    seq: int = 0
    """Number within the run, from 1; the pipeline gives it."""
    time: float = Field(default_factory=now)
    """Seconds since the epoch."""
    mono: float = 0.0
    """Seconds by a clock of that machine that is never set back; the pipeline gives it."""


class PlannedEntry(BaseModel):
    """One item of the plan as a run announces it."""

    stage: str
    label: str
    coord: tuple[tuple[str, int], ...] = ()
    key: str
    cached: bool
    stale: bool = False
    """It was made before, of something else."""
    reason: str
    sources: tuple[str, ...] = ()
    """The items it is made from, as `stage label`."""
    seconds: float
    """Expected; from history where there is one."""
    seconds_low: float = 0.0
    seconds_high: float = 0.0
    """The range within which half of its earlier runs lie."""
    samples: int = 0
    """Earlier runs that the expectation rests on; 0 is an estimate by size."""
    peak_ram: int = 0
    """Bytes, expected."""
    bytes: int = 0
    """Stored for it, or expected to be."""
    size: int = 0
    """Bytes of its files, where they are cached."""
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
    """Bytes that running items may use together."""
    ram: int = 0
    """Bytes that the machine (or the container) has."""
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


class ItemProgress(Event):
    type: Literal["item_progress"] = "item_progress"
    stage: str
    label: str
    fraction: float
    message: str = ""


class ItemFinished(Event):
    type: Literal["item_finished"] = "item_finished"
    stage: str
    label: str
    key: str
    seconds: float
    peak_rss: int
    """Bytes."""
    bytes: int
    """That it added to the disk: files that were there already are linked."""
    size: int = 0
    """Bytes of its files."""
    directory: str
    warnings: tuple[str, ...] = ()
    """What is not as it should be in it, though it was made."""
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0


class ItemShared(Event):
    """Another run is making it; this one waits for that."""

    type: Literal["item_shared"] = "item_shared"
    stage: str
    label: str


class ItemQuiet(Event):
    """It runs, but has said and computed nothing for `seconds`; 0 when it is heard again."""

    type: Literal["item_quiet"] = "item_quiet"
    stage: str
    label: str
    seconds: float


class ItemFailedEvent(Event):
    type: Literal["item_failed"] = "item_failed"
    stage: str
    label: str
    error: dict[str, Any]
    log: str
    peak_rss: int = 0
    """Bytes; 0 where its process died, and so in what follows."""
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0


class ItemSkipped(Event):
    """Not run because something before it failed, or the run was interrupted."""

    type: Literal["item_skipped"] = "item_skipped"
    stage: str
    label: str
    because: str
    kind: Literal["blocked", "cancelled", "interrupted"] = "blocked"


class ItemWaiting(Event):
    """It will run after all: it, or what it waits for, is tried again."""

    type: Literal["item_waiting"] = "item_waiting"
    stage: str
    label: str


class RequestAnswered(Event):
    """What became of something a watcher asked of the run."""

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
    """What a stage leaves for people: being written, written, found current, or failed."""

    type: Literal["output"] = "output"
    stage: str
    kind: Literal["prediction", "visualization"]
    status: Literal["writing", "written", "current", "failed"]
    directory: str
    reason: str = ""
    """Why it is written."""
    message: str = ""
    """What is being done."""
    fraction: float = 0.0
    files: tuple[str, ...] = ()
    """Paths below `directory`."""
    bytes: int = 0
    seconds: float = 0.0
    error: dict[str, Any] | None = None


class LogLine(Event):
    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class ResourceSample(Event):
    """RAM of the process tree in bytes, CPU in percent of one core; GPU fields are None where there is no GPU."""

    type: Literal["resource_sample"] = "resource_sample"
    ram: int
    cpu_percent: float
    gpu_memory: int | None = None
    gpu_memory_total: int | None = None
    gpu_percent: float | None = None


class RunFinished(Event):
    type: Literal["run_finished"] = "run_finished"
    status: Literal["done", "failed", "interrupted"]
    seconds: float
    executed: int
    cached: int
    failed: int


AnyEvent = Annotated[
    RunStarted
    | CacheHit
    | ItemStarted
    | ItemProgress
    | ItemFinished
    | ItemShared
    | ItemQuiet
    | ItemFailedEvent
    | ItemSkipped
    | ItemWaiting
    | RequestAnswered
    | StageStarted
    | StageFinished
    | OutputWritten
    | LogLine
    | ResourceSample
    | RunFinished,
    Field(discriminator="type"),
]

_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(data: dict[str, Any]) -> AnyEvent:
    """An event from its JSON form.

    Raises:
        pydantic.ValidationError: the record is not an event of this version.
    """
    return _adapter.validate_python(data)


class EventTail:
    """Reads a file of events as it grows. A torn last line waits for its rest; damaged ones are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unknown = 0
        """Records that this version does not know, or that are damaged."""
        self.newer = False
        """Whether a newer version wrote some of them."""
        self._offset = 0
        self._torn = b""

    def read(self) -> list[AnyEvent]:
        """The events that were written since the last call; none while there is no file."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._torn = (self._torn + data).split(b"\n")
        events: list[AnyEvent] = []
        for line in lines:
            try:
                events.append(_adapter.validate_json(line))
            except ValidationError:
                self.unknown += 1
                self.newer = self.newer or _version(line) > VERSION
        return events


def read_events(path: Path) -> list[AnyEvent]:
    """The events of a file so far; a torn last line and records that only a newer version knows are left out."""
    return EventTail(path).read()


def _version(line: bytes) -> int:
    try:
        return int(json.loads(line)["v"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
