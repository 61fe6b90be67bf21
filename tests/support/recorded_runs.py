"""Run folders as the engine writes them, generated from events: successful, failed, killed, …

Runs of a few items; `simulated_runs` has runs of a whole compile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder

BEGAN = 1_763_700_000.0
"""When recorded runs start, unless a test says otherwise."""


def entries(splits: int = 2, cached: Sequence[str] = (), seconds: float = 10.0) -> list[ev.PlannedEntry]:
    """`convert` and `quantize`, one item for each split."""
    return [
        ev.PlannedEntry(
            stage=stage,
            label=f"ar1-split{split}",
            coord=(("ar", 1), ("split", split)),
            key=f"{stage}{split}",
            cached=f"{stage} ar1-split{split}" in cached,
            reason="never made",
            sources=(f"convert ar1-split{split}",) if stage == "quantize" else (),
            seconds=seconds,
            bytes=1000,
            from_history=True,
        )
        for stage in ("convert", "quantize")
        for split in range(1, splits + 1)
    ]


def opening(items: list[ev.PlannedEntry], *, at: float = BEGAN, run_id: str = "0001", recipe: str = "") -> ev.Event:
    return ev.RunStarted(
        time=at,
        run_id=run_id,
        recipe=recipe or "/recipes/tiny.yaml",
        cache_dir="/cache/tiny",
        pid=41231,
        host="box7",
        jobs=2,
        cores=4,
        memory=8 * 10**9,
        items=items,
    )


def made(
    entry: ev.PlannedEntry, at: float, seconds: float, *, ram: int = 2 * 10**9, size: int = 5000
) -> list[ev.Event]:
    """An item that started at `at` and finished."""
    name: dict[str, Any] = {"stage": entry.stage, "label": entry.label, "key": entry.key}
    log = f"/gone/{entry.stage}.{entry.label}.log"
    return [
        ev.ItemStarted(time=at, reason=entry.reason, log=log, threads=2, **name),
        ev.ItemFinished(
            time=at + seconds, seconds=seconds, peak_rss=ram, bytes=size, directory="/cache/tiny/x", **name
        ),
    ]


def failed(entry: ev.PlannedEntry, at: float, what: str) -> list[ev.Event]:
    """An item that started at `at` and failed a second later."""
    first, _ = made(entry, at, 1.0)
    error = {"type": "ItemFailed", "what": what, "remedy": "give it more memory", "log_tail": ["killed"]}
    return [
        first,
        ev.ItemFailedEvent(time=at + 1, stage=entry.stage, label=entry.label, error=error, log="/gone/x.log"),
    ]


def closing(status: Any, at: float, *, began: float = BEGAN) -> ev.Event:
    broken = int(status == "failed")
    return ev.RunFinished(time=at, status=status, seconds=at - began, executed=1, cached=0, failed=broken)


def good(
    *, at: float = BEGAN, run_id: str = "0001", cached: Sequence[str] = (), recipe: str = "", seconds: float = 10.0
) -> list[ev.Event]:
    """Four items, one after another, those in `cached` reused; its process tree took 3 GB."""
    items = entries(cached=cached)
    events = [opening(items, at=at, run_id=run_id, recipe=recipe)]
    now = at
    for entry in items:
        if entry.cached:
            events.append(ev.CacheHit(time=now, stage=entry.stage, label=entry.label, key=entry.key))
            continue
        events += made(entry, now, seconds)
        now += seconds
    events.append(ev.ResourceSample(time=now, ram=3 * 10**9, cpu_percent=180.0))
    return [*events, closing("done", now, began=at)]


def failing(*, at: float = BEGAN, run_id: str = "0001", what: str = "it was killed: out of memory") -> list[ev.Event]:
    """The first item finishes, the second fails, and the items that depend on it do not run."""
    items = entries()
    skip = ev.ItemSkipped(time=at + 11, stage="quantize", label="ar1-split2", because="convert ar1-split2 failed")
    return [
        opening(items, at=at, run_id=run_id),
        *made(items[0], at, 10.0),
        *failed(items[1], at + 10, what),
        *made(items[2], at + 11, 10.0),
        skip,
        closing("failed", at + 21, began=at),
    ]


def half(*, at: float = BEGAN, run_id: str = "0001") -> list[ev.Event]:
    """One item finished, one running; the events stop there."""
    items = entries()
    return [opening(items, at=at, run_id=run_id), *made(items[0], at, 10.0), made(items[1], at + 10, 1.0)[0]]


def many(*, at: float = BEGAN, run_id: str = "0001", splits: int = 45) -> list[ev.Event]:
    """90 graphs."""
    items = entries(splits)
    events = [opening(items, at=at, run_id=run_id)]
    for number, entry in enumerate(items):
        events += made(entry, at + number, 1.0)
    return [*events, closing("done", at + len(items), began=at)]


def line(event: ev.Event | dict[str, Any]) -> str:
    """An event as a line of the file."""
    record = event if isinstance(event, dict) else event.model_dump()
    return json.dumps(record, separators=(",", ":"), default=str) + "\n"


def record(
    state_folder: Path,
    run_id: str,
    events: Iterable[ev.Event | dict[str, Any]],
    *,
    tail: str = "",
    source: str = "/recipes/tiny.yaml",
    recipe: str = "backend: HTP\nstages:\n  convert: {num_splits: 2}\n",
) -> RunFolder:
    """The folder of a run whose process has ended.

    Args:
        tail: what it wrote last, such as a torn line.
        source: where its recipe was read from.
        recipe: what stood there.
    """
    folder = RunFolder(state_folder / "runs" / run_id)
    folder.logs.mkdir(parents=True)
    with folder.held(source, (), detached=False):
        numbered = (
            event if isinstance(event, dict) else event.model_copy(update={"seq": number})
            for number, event in enumerate(events, 1)
        )
        folder.events.write_text("".join(map(line, numbered)) + tail)
        (folder.path / "recipe.yaml").write_text(recipe)
    return folder
