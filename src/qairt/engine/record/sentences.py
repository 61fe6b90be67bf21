"""Events as lines of text, on a terminal and in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from qairt.amounts import about, count, duration, size
from qairt.engine.record import events as ev
from qairt.engine.record.eta import in_words, is_overdue, remaining
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState

_TAIL = 6
"""Lines of a tool that are repeated with a failure."""


def opening(event: ev.RunStarted) -> list[str]:
    """What the run will do: how many items run, how many are cached, how long it takes."""
    to_run = [item for item in event.items if not (item.cached or item.on_demand)]
    cached = sum(item.cached for item in event.items)
    on_demand = len(event.items) - len(to_run) - cached
    waiting = f", {on_demand} on demand" if on_demand else ""
    if not to_run:
        return [f"nothing to run: {_all(cached)} cached{waiting}"]
    eta = remaining(RunState.of_plan(event.items), event.time, jobs=event.jobs, memory=event.memory)
    stored = sum(item.stored for item in to_run)
    there = f", {stored} in the store" if stored else ""
    counts = f"{count(len(to_run) - stored, 'item')} to run{there}, {cached} cached{waiting}"
    first = f"{counts}; {in_words(eta)}, {eta.basis}"
    return [f"{first}, at most {event.jobs} at a time"] + ([f"cached: {_cached_stages(event)}"] if cached else [])


def _all(number: int) -> str:
    return "its only item is" if number == 1 else f"all {number} items are"


def _cached_stages(event: ev.RunStarted) -> str:
    """`quantization, 3 of 8 in convert`."""
    total = Counter(item.stage for item in event.items)
    cached = Counter(item.stage for item in event.items if item.cached)
    return ", ".join(
        stage if number == total[stage] else f"{number} of {total[stage]} in {stage}"
        for stage, number in cached.items()
    )


def started(event: ev.ItemStarted) -> str:
    on = f" on {event.host}" if event.host else ""
    return f"{event.stage} {event.label}: started{on}; {event.reason}"


def finished(event: ev.ItemFinished) -> str:
    """`convert ar1-split2: 12.3 s, 540 MB, 28 MB written`."""
    memory = f"{size(event.peak_rss)}, " if event.peak_rss else ""
    return f"{event.stage} {event.label}: {duration(event.seconds)}, {memory}{size(event.size or event.bytes)} written"


def failed(event: ev.ItemFailedEvent) -> str:
    return f"{event.stage} {event.label}: FAILED: {event.error.get('what')}"


def failure(error: Mapping[str, object]) -> list[str]:
    """A failure as the last lines of the item's log: the cause, what its tool wrote last, and the remedy."""
    where, remedy, tail = error.get("where"), error.get("remedy"), error.get("log_tail")
    lines = [f"error: {error.get('what') or 'no reason was given'}"]
    lines += [f"  where: {where}"] if where else []
    if isinstance(tail, list) and tail:
        lines += ["  the last lines before it:", *(f"    {line}" for line in tail[-_TAIL:])]
    lines += [f"  remedy: {remedy}"] if remedy else []
    return "\n".join(lines).splitlines()


def failures(state: RunState) -> str:
    """`1 failed: convert ar128-split5`, or why no item began; empty when nothing failed."""
    if state.error:
        return state.error.splitlines()[0]
    failed = [item.name for item in state.items.values() if item.status == "failed"]
    failed += [f"{output.stage} {output.kind}" for output in state.outputs.values() if output.status == "failed"]
    if not failed:
        return ""
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"{len(failed)} failed: {failed[0]}{more}"


def nothing_written(item: ItemState, log: Path | None = None) -> str:
    """Why the log of an item is empty or missing: its state, and what that means for the log.

    Args:
        log: the empty one; None if it is missing.
    """
    took = f"; it took {duration(item.seconds)}" if item.seconds else ""
    match item.status:
        case "on_demand":
            return "on demand: nobody needs it, so it was not made"
        case "cached":
            return "cached: it logged nothing" if log is not None else "cached: the log of its run is gone"
        case "done" | "warn":
            return f"done: it logged nothing{took}"
        case "running" | "quiet":
            return "running: it has logged nothing yet"
        case "shared":
            return "another run is building it: its log is there"
        case "failed":
            return f"failed: it logged nothing{took}"
        case "blocked" | "cancelled" | "interrupted":
            return f"not run: {item.message}" if item.message else f"{item.status}: it logged nothing"
    return f"{item.status}: it has not run yet"


def output(event: ev.OutputWritten) -> list[str]:
    """`quantization visualization: 3 files, 12 kB, in cache/quantization/viz`."""
    name = f"{event.stage} {event.kind}"
    if event.status == "written":
        return [f"{name}: {count(len(event.files), 'file')}, {size(event.bytes)}, in {event.directory}"]
    if event.status == "failed":
        return [f"{name}: FAILED: {(event.error or {}).get('what')}"]
    return []


def running(item: ItemState, now: float) -> str:
    """`convert ar1-split2 (10.0 s of about 12 s, writing)`, or `(41 s, longer than estimated (12 s))`."""
    elapsed = duration(now - item.started) if item.started is not None else "0.0 s"
    expected = f" of about {about(item.expected_seconds)}" if item.expected_seconds >= 1 else ""
    if is_overdue(item, now):
        expected = f", longer than estimated ({about(item.expected_seconds)})"
    doing = f", {item.message}" if item.message else ""
    if item.status == "quiet":
        doing += f", stopped: process {item.stopped_pid}" if item.stopped_pid else ", silent"
    return f"{item.name_and_host} ({elapsed}{expected}{doing})"


def quiet(event: ev.ItemQuiet) -> str:
    """Why nothing is heard of an item, or for how long."""
    if event.stopped_pid:
        return f"{event.stage} {event.label}: {stopped(event.stopped_pid)}"
    return f"{event.stage} {event.label}: no output and no CPU use for {about(event.seconds)}"


def stopped(pid: int) -> str:
    """That a process is stopped, and how it goes on."""
    return f"process {pid} was stopped by a signal; `kill -CONT {pid}` lets it go on"


def format_event(event: ev.Event) -> list[str]:
    """The lines for an event; none for minor events."""
    match event:
        case ev.RunStarted():
            return opening(event)
        case ev.ItemStarted():
            return [started(event)]
        case ev.ItemFinished():
            return [finished(event)]
        case ev.ItemFailedEvent():
            return [failed(event)]
        case ev.ItemShared():
            return [f"{event.stage} {event.label}: another run is building it; waiting for that run"]
        case ev.ItemQuiet() if event.seconds:
            return [quiet(event)]
        case ev.ItemSkipped():
            return [f"{event.stage} {event.label}: not run: {event.because}"]
        case ev.OutputWritten():
            return output(event)
        case ev.RequestAnswered():
            return [event.message]
        case ev.LogLine():
            return [f"{event.level}: {event.message}"]
        case ev.RunFinished():
            items = f"{count(event.executed, 'item')} built, {event.cached} cached, {event.failed} failed"
            return [*event.error.splitlines(), f"run {event.status} after {duration(event.seconds)}: {items}"]
    return []
