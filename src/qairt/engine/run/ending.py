"""What a run leaves behind: its results, what the cache saved, and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import ENTRY
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.files import files_below

_LARGEST = 6


@dataclass(frozen=True)
class Made:
    """A folder of results."""

    name: str
    """The stage, and the item if there are several."""
    folder: Path
    files: tuple[tuple[str, int], ...]
    """Names and bytes of the largest files."""
    count: int
    bytes: int


@dataclass(frozen=True)
class Ending:
    """The end of a run."""

    made: tuple[Made, ...]
    """Results of the last stage; empty while it is not finished."""
    seconds_saved: float
    """What the reused items took when they were made."""
    bytes_written: int
    """By the items that ran."""
    warnings: tuple[str, ...]


def ending_of(state: RunState, cache: StageCache) -> Ending:
    """Reads the cache entry of every item: not for the thread of a screen."""
    items = list(state.items.values())
    reused = [entry for item in state.ended("cached") if (entry := cache.present(item.key))]
    return Ending(
        made=tuple(_made(items, cache)),
        seconds_saved=sum(entry.seconds for entry in reused),
        bytes_written=sum(item.written for item in state.ended("done", "warn")),
        warnings=tuple(_warnings(state)),
    )


def _made(items: list[ItemState], cache: StageCache) -> Iterator[Made]:
    last = [item for item in items if item.stage == items[-1].stage] if items else []
    if any(item.status not in ("done", "warn", "cached") for item in last):
        return
    published = cache.cache_dir.parent / last[0].stage if last else None
    if published is not None and published.is_dir():
        yield _folder(last[0].stage, published)
        return
    for item in last:
        entry = cache.present(item.key)
        if entry is not None:
            yield _folder(item.name if len(last) > 1 else item.stage, entry.directory)


def _folder(name: str, folder: Path) -> Made:
    files = [(path, path.stat().st_size) for path in files_below(folder) if path.name != ENTRY]
    largest = sorted(files, key=lambda file: -file[1])[:_LARGEST]
    named = tuple((str(path.relative_to(folder)), bytes_) for path, bytes_ in largest)
    return Made(name, folder, named, len(files), sum(bytes_ for _, bytes_ in files))


def _warnings(state: RunState) -> Iterator[str]:
    for item in state.items.values():
        if item.ended_as == "warn":
            yield f"{item.name}: {item.message}"
    for line in state.log:
        if line.level != "info":
            yield line.message
    for output in state.outputs.values():
        if output.status == "failed":
            yield f"{output.stage} {output.kind}: {(output.error or {}).get('what', 'it could not be written')}"
