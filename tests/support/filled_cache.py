"""A cache directory with entries of three stages, their manifest and the runs that used them; no engine runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry, NewEntry
from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.files import append_line
from qairt.keys import digest

RECIPE = """\
stages:
  convert: {}
  quantize: {}
  export_bundle: {}
"""
SIZE = 20_000
"""Content of an entry's large file; equal for `convert` and `quantize` of one split."""


def key_of(stage: str, label: str, version: str = "") -> str:
    return digest([stage, label, version])


def fill(cache_dir: Path, splits: int = 2, *, version: str = "") -> list[Entry]:
    """`convert` and `quantize` for each split, and one `export_bundle`."""
    cache = StageCache(cache_dir)
    cache.cache_dir.mkdir(parents=True, exist_ok=True)
    (cache.cache_dir / "recipe.yaml").write_text(RECIPE)
    labels = [f"ar1-split{split}" for split in range(1, splits + 1)]
    entries = [
        put(cache, stage, label, sources=(f"convert {label}",) if stage == "quantize" else (), version=version)
        for stage in ("convert", "quantize")
        for label in labels
    ]
    sources = tuple(f"quantize {label}" for label in labels)
    return [*entries, put(cache, "export_bundle", "all", sources=sources, version=version)]


def put(cache: StageCache, stage: str, label: str, *, sources: Sequence[str] = (), version: str = "") -> Entry:
    """One entry, in the manifest too."""
    key = key_of(stage, label, version)
    made_from = {name: key_of(*name.split(" "), version) for name in sources}
    inputs = {"extras": {"sources": made_from}}
    with cache.making(stage, key) as work:
        (work / "big.bin").write_bytes(label.encode() * (SIZE // len(label)))
        (work / "note.txt").write_text(f"{stage} {label} {version}")
        entry = cache.publish(work, NewEntry(key, stage, label, inputs, seconds=60.0, peak_rss=10**9))
    PipelineManifest(cache.cache_dir.parent).update_item(
        stage, label, {"artifact_path": str(entry.directory), "cache_key": key, "seconds": 60.0, "peak_rss": 10**9}
    )
    return entry


def planned(entries: Sequence[Entry], *, cached: bool = True) -> list[ev.PlannedEntry]:
    """A plan with these items."""
    return [
        ev.PlannedEntry(
            stage=entry.stage,
            label=entry.label,
            coord=_coord(entry.label),
            key=entry.key,
            cached=cached,
            reason="" if cached else "never made",
            sources=tuple(entry.inputs["extras"]["sources"]),
            seconds=entry.seconds,
            bytes=entry.new_bytes,
            from_history=True,
        )
        for entry in entries
    ]


def state_of(entries: Sequence[Entry], recipe: str = "/recipes/own.yaml") -> RunState:
    """The state of a plan that reuses all of them."""
    return RunState.of_plan(planned(entries), recipe=recipe)


def ran(cache_dir: Path, recipe: str, entries: Sequence[Entry]) -> None:
    """Leave the events of a run of `recipe` that used these."""
    runs = cache_dir / "pipeline_state" / "runs"
    folder = runs / f"{len(list(runs.glob('*'))) + 1:04d}"
    folder.mkdir(parents=True)
    started = ev.RunStarted(
        run_id=folder.name, recipe=recipe, cache_dir=str(cache_dir), pid=1, jobs=1, memory=10**9, items=planned(entries)
    )
    append_line(folder / "events.jsonl", started.model_dump())


def snapshot(cache_dir: Path) -> dict[str, tuple[int, bytes] | None]:
    """Every file of entries and blobs and the manifest: inode and bytes."""
    found: dict[str, tuple[int, bytes] | None] = {}
    root = cache_dir / "pipeline_state"
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in ("trash", "locks", "runs")]
        for name in names:
            path = Path(folder) / name
            if not name.endswith(".lock") and not name.startswith("."):
                inode = 0 if name == "manifest.json" else path.stat().st_ino
                found[str(path.relative_to(root))] = (inode, path.read_bytes())
    return found


def _coord(label: str) -> tuple[tuple[str, int], ...]:
    if label == "all":
        return ()
    return tuple((part.rstrip("0123456789"), int(part.lstrip("arsplit"))) for part in label.split("-"))
