"""A report's facts, from what the latest run left: its events, its recipe, the cache, what was measured of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from qairt import keys
from qairt.amounts import count, duration, size
from qairt.engine.cache.cache import Entry, StageCache
from qairt.engine.record import events as ev
from qairt.engine.record.events import EventTail
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.state import MADE, RunState
from qairt.engine.record.summary import RunSummary, read_summary
from qairt.engine.run.history import recipe_of_run, tools_of_run
from qairt.errors import CacheError
from qairt.evaluate.record import recipe_of
from qairt.report.artifacts import bundle_of, entries_of, sizes_of
from qairt.report.facts import Failure, Output, Reason, Report, StageLine
from qairt.report.fidelity import fidelity_of
from qairt.report.quality import scores_of
from qairt.report.speed import speed_of
from qairt.report.timeline import timeline_of

_LABELS = 4
"""Named of the items that ran for one reason."""


class Recorded:
    """A run as its folder has it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        tail = EventTail(folder.events)
        self.events = tail.read()
        self.damaged = tail.unknown
        self.state = RunState()
        for event in self.events:
            self.state.apply(event)
        if folder.liveness() == "interrupted":
            self.state.end_unexpectedly()

    @property
    def samples(self) -> list[ev.ResourceSample]:
        return [event for event in self.events if isinstance(event, ev.ResourceSample)]

    @property
    def made_something(self) -> bool:
        return any(item.started is not None for item in self.state.items.values())


def gather(cache: StageCache, recipe: str, recipe_now: dict[str, Any] | None = None) -> Report:
    """The facts of the latest run over a cache directory; nothing is changed or computed again.

    Args:
        recipe: as commands name it, for what is said of what to do.
        recipe_now: its settings as they are now; what differs from the run's is noted.

    Raises:
        CacheError: nothing was run yet, or the run's events cannot be read.
    """
    folders = [folder for folder in run_folders(cache.cache_dir) if _has_begun(folder)]
    if not folders:
        raise CacheError(
            "there is nothing to report: nothing was run here yet",
            where=str(cache.cache_dir),
            remedy=f"qairt run {recipe}",
        )
    latest = Recorded(folders[-1])
    worked = latest
    for folder in reversed(folders[:-1]):
        if worked.made_something:
            break
        worked = Recorded(folder)
    state, summary = latest.state, read_summary(latest.folder)
    entries, metrics = _entries(cache, state), cache.read_metrics()
    ran = recipe_of_run(latest.folder) or {}
    resolved = _json(latest.folder.path / "resolved.json")
    settings = resolved.get("settings") or {}
    fidelity = fidelity_of(cache, state, settings)
    model = str(ran.get("model_id_or_path") or settings.get("model_id_or_path") or "")
    scores = scores_of(cache.cache_dir, state, model)
    host = latest.folder.host()
    return Report(
        run=summary,
        model=_model_name(model),
        recipe_name=PurePath(summary.recipe or recipe).name,
        recipe_text=_text(latest.folder.path / "recipe.yaml"),
        recipe_digest=keys.digest(recipe_of(ran)) if ran else "",
        made_at=time.time(),
        missing=[
            *_unfinished(summary, state, recipe),
            *_not_in_run(state, list(resolved.get("stages") or {}), recipe),
            *_gone(state, entries, recipe),
            *_unmeasured(recipe, fidelity=fidelity is not None, scores=bool(scores)),
        ],
        notes=_notes(latest, worked, ran, recipe_now),
        failures=[
            *(_failure(item.name, item.error) for item in state.items.values() if item.status == "failed"),
            *(_failure(f"{o.stage} {o.kind}", o.error) for o in state.outputs.values() if o.status == "failed"),
        ],
        stages=[_stage(name, state, entries, metrics) for name in state.stages()],
        reasons=_reasons(state),
        timeline=timeline_of(worked.state, worked.samples, is_earlier=worked is not latest),
        sizes=sizes_of(entries, model),
        fidelity=fidelity,
        scores=scores,
        speed=speed_of(entries),
        outputs=_outputs(state),
        bundle=bundle_of(entries),
        tools=tools_of_run(latest.folder),
        machine=[
            (name, value)
            for name, value in (
                ("Machine", summary.host),
                ("Cores", f"{state.cores}" if state.cores else ""),
                ("RAM", size(state.ram) if state.ram else ""),
                ("Items at once", str(state.jobs) if state.jobs else ""),
                ("qairt", host.version if host else ""),
            )
            if value
        ],
    )


# The run


def _has_begun(folder: RunFolder) -> bool:
    try:
        return folder.events.stat().st_size > 0
    except OSError:
        return False


def _entries(cache: StageCache, state: RunState) -> dict[tuple[str, str], Entry]:
    """What is in the cache of the run's items."""
    by_key = {entry.key: entry for name in state.stages() for entry in entries_of(cache, name)}
    return {
        (item.stage, item.label): by_key[item.key]
        for item in state.items.values()
        if item.key in by_key and by_key[item.key].missing() is None
    }


def _unfinished(summary: RunSummary, state: RunState, recipe: str) -> list[str]:
    unmade = state.count("waiting", "ready", "running", "quiet", "shared", "blocked", "cancelled", "interrupted")
    rest = f"{count(unmade, 'item')} of {len(state.items)} not made" if unmade else "every item was made"
    again = f"It goes on where it stopped with: qairt run {recipe}"
    match summary.state:
        case "running":
            return [f"Run {summary.id} is still going: {rest} yet. This is how it stood when the report was made."]
        case "failed":
            items = state.count("failed")
            if not items and not unmade:
                outputs = count(len(summary.failed), "output")
                return [f"Run {summary.id} made every item, but {outputs} for people could not be written: see below."]
            failed = f"{count(items, 'item')} failed" + (f", {rest}" if unmade else "")
            return [f"Run {summary.id} failed after {duration(summary.seconds)}: {failed}. {again}"]
        case "interrupted":
            return [f"Run {summary.id} was interrupted after {duration(summary.seconds)}: {rest}. {again}"]
        case "unknown":
            return [f"How run {summary.id} ended is not known ({rest}): it was last heard of on {summary.host or '?'}."]
        case _:
            return []


def _not_in_run(state: RunState, configured: Sequence[str], recipe: str) -> list[str]:
    left = [name for name in configured if name not in state.stages()]
    if not left:
        return []
    return [f"This run was not asked for {', '.join(left)}: qairt run {recipe}"]


def _gone(state: RunState, entries: dict[tuple[str, str], Entry], recipe: str) -> list[str]:
    """Stages whose results were made and are in the cache no more."""
    found = []
    for name in state.stages():
        made = [item for item in state.items.values() if item.stage == name and item.status in MADE]
        gone = [item for item in made if (item.stage, item.label) not in entries]
        if gone:
            items = f"{len(gone)} of {count(len(made), 'result')} of {name}"
            found.append(f"{items} {'is' if len(gone) == 1 else 'are'} not in the cache any more: qairt run {recipe}")
    return found


def _unmeasured(recipe: str, *, fidelity: bool, scores: bool) -> list[str]:
    missing = []
    if not fidelity:
        missing.append(f"How close each stage is to the float model was not measured: qairt verify {recipe}")
    if not scores:
        missing.append(f"How good the quantized model is was not measured: qairt evaluate {recipe}")
    return missing


def _notes(latest: Recorded, worked: Recorded, ran: dict[str, Any], now: dict[str, Any] | None) -> list[str]:
    notes = []
    if latest.damaged:
        notes.append(f"{count(latest.damaged, 'record')} of the run's events cannot be read and are left out.")
    if worked is not latest and worked.made_something:
        notes.append(f"Run {latest.folder.id} made nothing; the timeline is that of run {worked.folder.id}, which did.")
    differing = keys.differing_leaves(recipe_of(ran), recipe_of(now)) if ran and now is not None else []
    if differing:
        path, old, new = differing[0]
        more = f" and {count(len(differing) - 1, 'more setting')}" if len(differing) > 1 else ""
        notes.append(f"The recipe was changed since this run: {path} {_short(old)} → {_short(new)}{more}.")
    notes += [line.message for line in latest.state.log if line.level != "info"]
    return notes


def _failure(name: str, error: dict[str, Any] | None) -> Failure:
    said = error or {}
    return Failure(
        item=name,
        what=str(said.get("what") or "it failed"),
        remedy=str(said.get("remedy") or ""),
        log_tail=[str(line) for line in said.get("log_tail") or ()][-6:],
    )


# Stages


def _stage(name: str, state: RunState, entries: dict[tuple[str, str], Entry], metrics: dict[str, Any]) -> StageLine:
    items = [item for item in state.items.values() if item.stage == name]
    ran = [item for item in items if item.started is not None or item.status in ("done", "warn")]
    kept = [entry for (stage, _), entry in entries.items() if stage == name]
    record = metrics.get(name)
    record = record if isinstance(record, dict) else {}
    total: dict[str, Any]
    if ran:
        total = {
            "seconds": sum(item.seconds for item in ran),
            "cpu_seconds": sum(item.cpu_seconds for item in ran),
            "peak_ram": max(item.peak_rss for item in ran),
            "bytes_read": sum(item.bytes_read for item in ran),
            "bytes_written": sum(item.bytes_written for item in ran),
        }
    else:
        total = {
            "seconds": sum(entry.seconds for entry in kept),
            "cpu_seconds": float(record.get("cpu_seconds") or 0.0),
            "peak_ram": max((entry.peak_rss for entry in kept), default=0),
            "bytes_read": int(record.get("bytes_read") or 0),
            "bytes_written": int(record.get("bytes_written") or 0),
        }
    earlier = f"run {record['run']}" if record.get("run") else "an earlier run"
    return StageLine(
        name=name,
        made=sum(item.status in ("done", "warn") for item in items),
        cached=sum(item.status == "cached" for item in items),
        failed=sum(item.status == "failed" for item in items),
        unmade=sum(item.status not in MADE and item.status != "failed" for item in items),
        size=sum(_contents(kept).values()),
        earlier=earlier if not ran and kept else "",
        **total,
    )


def _contents(entries: Sequence[Entry]) -> dict[str, int]:
    return {str(file["sha256"]): int(file["size"]) for entry in entries for file in entry.files.values()}


def _reasons(state: RunState) -> list[Reason]:
    """Why what ran did run, items that have the same reason together."""
    labels: dict[str, dict[str, list[str]]] = {}
    for item in state.items.values():
        if item.status != "cached" and item.reason:
            labels.setdefault(item.reason, {}).setdefault(item.stage, []).append(item.label)
    in_stage = Counter(item.stage for item in state.items.values())
    return [
        Reason(
            why,
            sum(map(len, stages.values())),
            [(stage, _some(found, in_stage[stage])) for stage, found in stages.items()],
        )
        for why, stages in labels.items()
    ]


def _some(labels: Sequence[str], of: int) -> str:
    """The first of them; nothing where a stage has but one item."""
    if len(labels) == of:
        return f"all {of}" if of > 1 else ""
    return ", ".join(labels[:_LABELS]) + (f" and {len(labels) - _LABELS} more" if len(labels) > _LABELS else "")


def _outputs(state: RunState) -> list[Output]:
    cache_dir = Path(state.cache_dir)
    found = []
    for said in state.outputs.values():
        place = Path(said.directory)
        inside = place.is_relative_to(cache_dir)
        directory = str(place.relative_to(cache_dir)) if inside else said.directory
        found.append(Output(said.stage, said.kind, said.status, directory, said.files))
    return found


# Text


def _model_name(source: str) -> str:
    """`SmolLM2-135M-Instruct.Q4_1`, of a path or of an id on the hub."""
    return PurePath(source).name.removesuffix(".gguf") or "a foreign graph"


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:39] + "…"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
