"""`summary.json`: the result of a run, so that a list of runs need not read all events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from qairt.engine.record.events import EventTail
from qairt.engine.record.folder import Liveness, RunFolder
from qairt.engine.record.item_state import ItemState, ItemStatus
from qairt.engine.record.metrics_file import MetricsFile
from qairt.engine.record.state import RunState
from qairt.files import read_regular

SummaryState = Literal["running", "done", "failed", "interrupted", "unknown"]
"""`unknown`: it ran on another machine that is silent, or its end cannot be read."""

FILE = "summary.json"

_METRICS = {
    "ppl": ("ppl", "perplexity"),
    "sqnr_db": ("sqnr_db", "sqnr"),
    "tokens_per_second": ("tokens_per_second", "tok_per_second"),
}
"""Quality metrics of a run, and the names under which stages and observers report them."""


class StageSummary(BaseModel):
    """What one stage of a run took."""

    model_config = ConfigDict(frozen=True)

    stage: str
    items: int
    cached: int
    seconds: float
    """Sum over its items that ran in this run."""
    peak_ram: int
    """Bytes, of the item that used the most."""
    bytes: int
    """On disk, of its results, including cached ones."""
    failed: int = 0
    cpu_seconds: float = 0.0
    """Sum over its items; this and the following are 0 in old summaries."""
    bytes_read: int = 0
    bytes_written: int = 0


class RunSummary(BaseModel):
    """One run."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: SummaryState
    recipe: str = ""
    host: str = ""
    pid: int = 0
    started: float | None = None
    seconds: float = 0.0
    """How long it took; of a run in progress, up to its last event."""
    items: int = 0
    counts: dict[ItemStatus, int] = {}
    peak_ram: int = 0
    """Bytes, of the whole process tree if that was sampled."""
    bytes: int = 0
    """On disk, of its results, including cached ones; equal files count once unless the run ended unexpectedly."""
    failed: tuple[str, ...] = ()
    """Names of the items and outputs (`quantize prediction`) that failed."""
    failure: str = ""
    """The error of the first."""
    metrics: dict[str, float] = {}
    """`ppl`, `sqnr_db` and `tokens_per_second`, if the run measured them."""
    stages: tuple[StageSummary, ...] = ()
    events_bytes: int = 0
    """Size of the events file it was made from; if the file has grown, it is read again."""

    @property
    def cached_share(self) -> float | None:
        """Share of its items that were reused, 0 … 1; None without items."""
        return self.counts.get("cached", 0) / self.items if self.items else None

    @property
    def made(self) -> int:
        """Items that are finished, made or reused."""
        return sum(self.counts.get(status, 0) for status in ("done", "warn", "cached"))


def write_summary(
    folder: RunFolder, state: RunState, sizes: Mapping[str, int] | None = None, size: int | None = None
) -> None:
    """Write the summary of a finished run, with the metrics of its stages.

    On a full disk only the summary is lost; it can be made from the events again.

    Args:
        sizes: bytes on disk by stage; those that the events tell of if left out.
        size: of all results; the same.
    """
    measured = _metrics(folder, {item.stage for item in state.items.values() if item.status in ("done", "warn")})
    summary = summary_of(folder, state, "over", metrics=measured)
    stages = tuple(
        stage.model_copy(update={"bytes": (sizes or {}).get(stage.stage, stage.bytes)}) for stage in summary.stages
    )
    _keep(folder, summary.model_copy(update={"stages": stages, "bytes": summary.bytes if size is None else size}))


def read_summary(folder: RunFolder) -> RunSummary:
    """The summary of a run. Damaged files lose their content, never the whole run."""
    liveness = folder.liveness()
    kept = _kept(folder)
    if kept is not None and liveness != "running" and kept.events_bytes == _length(folder):
        return kept
    summary = summary_of(folder, read_state(folder, liveness), liveness, metrics=kept.metrics if kept else {})
    if summary.state in ("done", "failed", "interrupted") and folder.host() is not None:
        _keep(folder, summary)
    return summary


def read_state(folder: RunFolder, liveness: Liveness | None = None) -> RunState:
    """A run's state from its events; interrupted if its process is gone without a last event."""
    state = RunState()
    for event in EventTail(folder.events).read():
        state.apply(event)
    if (liveness or folder.liveness()) == "interrupted":
        state.end_unexpectedly()
    return state


def summary_of(
    folder: RunFolder, state: RunState, liveness: Liveness, *, metrics: dict[str, float] | None = None
) -> RunSummary:
    """The summary of `state`, completed from `host.json`."""
    host = folder.host()
    items = list(state.items.values())
    failed = [(item.name, item.error) for item in items if item.status == "failed"]
    failed += [(f"{each.stage} {each.kind}", each.error) for each in state.outputs.values() if each.status == "failed"]
    counts: dict[ItemStatus, int] = {}
    for item in items:
        counts[item.status] = counts.get(item.status, 0) + 1
    return RunSummary(
        id=folder.id,
        state=_state(state, liveness),
        recipe=state.recipe or (host.recipe if host else ""),
        host=state.host or (host.host if host else ""),
        pid=state.pid or (host.pid if host else 0),
        started=state.started or (host.started if host else None),
        seconds=state.seconds or (max(state.now - state.started, 0.0) if state.started else 0.0),
        items=sum(item.status != "on_demand" for item in items),
        counts=counts,
        peak_ram=state.peak_ram,
        bytes=sum(item.written for item in items),
        failed=tuple(name for name, _ in failed),
        failure=str((failed[0][1] or {}).get("what") or "") if failed else "",
        metrics=metrics or {},
        stages=tuple(_stage(name, [item for item in items if item.stage == name]) for name in state.stages()),
        events_bytes=_length(folder),
    )


# Inside


def _state(state: RunState, liveness: Liveness) -> SummaryState:
    if state.status in ("done", "failed", "interrupted"):  # its last event may be newer than `liveness`
        return state.status
    return liveness if liveness in ("running", "interrupted") else "unknown"


def _stage(name: str, items: list[ItemState]) -> StageSummary:
    return StageSummary(
        stage=name,
        items=sum(item.status != "on_demand" for item in items),
        cached=sum(item.status == "cached" for item in items),
        seconds=sum(item.seconds for item in items),
        peak_ram=max(item.peak_rss for item in items),
        bytes=sum(item.written for item in items),
        failed=sum(item.status == "failed" for item in items),
        cpu_seconds=round(sum(item.cpu_seconds for item in items), 3),
        bytes_read=sum(item.bytes_read for item in items),
        bytes_written=sum(item.bytes_written for item in items),
    )


def _metrics(folder: RunFolder, stages: Iterable[str]) -> dict[str, float]:
    """Metrics of the stages that this run made; those of the other stages come from earlier runs."""
    metrics = MetricsFile(folder.path.parents[1])
    found: dict[str, float] = {}
    for stage in stages:
        measured = metrics.section(stage)
        for name, spellings in _METRICS.items():
            for spelling in spellings:
                value = measured.get(spelling)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found[name] = float(value)
    return found


def _kept(folder: RunFolder) -> RunSummary | None:
    try:
        return RunSummary.model_validate_json(read_regular(folder.path / FILE))
    except (OSError, ValidationError):
        return None


def _keep(folder: RunFolder, summary: RunSummary) -> None:
    with contextlib.suppress(OSError):
        folder.write(FILE, summary.model_dump())


def _length(folder: RunFolder) -> int:
    try:
        return folder.events.stat().st_size
    except OSError:
        return 0
