"""The end of a run: what each stage cost, what failed, and where the results are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.amounts import count, duration, size
from qairt.cli import exit_codes
from qairt.cli.console import say, table, tell
from qairt.cli.failures import tell_item
from qairt.engine.record.state import MADE, ItemState, RunState

if TYPE_CHECKING:
    from qairt.cli.watch.watcher import Watcher
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.run.options import RunResult

_NAMED = 6
"""Items named in a sentence before the rest is counted."""
_LARGEST = 8
"""Files listed of a result."""


def exit_code(result: RunResult) -> int:
    return {"done": exit_codes.DONE, "interrupted": exit_codes.INTERRUPTED}.get(result.status, exit_codes.FAILED)


def tell_outcome(result: RunResult, watcher: Watcher, pipeline: Pipeline) -> None:
    """Print the table of stages, then the results or what kept them from being made."""
    if result.executed:
        say()
        for line in stage_table(watcher):
            say(line)
    tell_end(result, watcher.state, pipeline)


def tell_end(result: RunResult, state: RunState, pipeline: Pipeline) -> None:
    """Print where the results are, or what kept them from being made."""
    for failure in (*result.failed, *result.failed_outputs):
        tell("")
        item = state.items.get((failure.stage, failure.label))
        tell_item(failure, log=item.log if item else "")
    if result.output is not None:
        say()
        for line in (*results(result, pipeline), *outputs(result)):
            say(line)
        if result.failed_outputs:
            lost = count(len(result.failed_outputs), "output")
            tell("")
            tell(f"Every item is made, but {lost} for people could not be written. Run again to write what is missing.")
        return
    skipped = [item for item in state.items.values() if item.status not in MADE | {"failed"}]
    kept = count(state.count("done", "cached"), "finished item is", "finished items are")
    tell("")
    if result.status == "interrupted":
        tell(f"Interrupted after {duration(state.seconds)}. {kept} kept: the same command goes on from there.")
    else:
        lost = f", {len(skipped)} not run because of that ({_names(skipped)})" if skipped else ""
        tell(f"{count(len(result.failed), 'item')} failed{lost}. {kept} kept: run again to go on from there.")


def stage_table(watcher: Watcher) -> list[str]:
    """One line for each stage: items, time, its share of the wall time, memory, bytes."""
    by_stage: dict[str, list[ItemState]] = {}
    for item in watcher.state.items.values():
        by_stage.setdefault(item.stage, []).append(item)
    rows = []
    for stage, items in by_stage.items():
        ran = [item for item in items if item.status == "done"]
        by_status = Counter(item.status for item in items)
        rows.append(
            (
                stage,
                str(len(ran) or ""),
                str(by_status["cached"] or ""),
                duration(sum(item.seconds for item in ran)) if ran else "",
                f"{watcher.shares.share(stage):.0%}" if ran else "",
                size(max(item.peak_rss for item in ran)) if ran and ran[0].peak_rss else "",
                size(sum(item.bytes for item in ran)) if ran else "",
            )
        )
    total = watcher.state
    done = [item for item in total.items.values() if item.status == "done"]
    rows.append(
        (
            "whole run",
            str(len(done)),
            str(total.count("cached") or ""),
            duration(total.seconds),
            "100%",
            size(max(item.peak_rss for item in done)) if done and any(item.peak_rss for item in done) else "",
            size(sum(item.bytes for item in done)),
        )
    )
    header = ("stage", "ran", "cached", "time", "wall", "peak RAM", "written")
    return table(rows, header=header, right=(1, 2, 3, 4, 5, 6))


def results(result: RunResult, pipeline: Pipeline) -> list[str]:
    """Where the last stage's outputs are, with their largest files."""
    last = result.plan.stages[-1]
    published = pipeline.cache_dir / last.stage.name
    folders = [published] if published.is_dir() else [item.entry.directory for item in last.items if item.entry]
    if not folders:
        return []
    if len(folders) > 1:
        lines = [f"{last.stage.name}: {count(len(folders), 'folder')} in {shown(folders[0].parent)}"]
        return lines + [f"  {folder.name}  {item.label}" for folder, item in zip(folders, last.items, strict=False)]
    from qairt.files import files_below

    files = [(path, path.stat().st_size) for path in files_below(folders[0]) if path.name != "cache_entry.json"]
    lines = [f"{last.stage.name}: {shown(folders[0])}  ({count(len(files), 'file')}, {size(sum(s for _, s in files))})"]
    largest = sorted(sorted(files, key=lambda file: -file[1])[:_LARGEST])
    return lines + [f"  {path.relative_to(folders[0])}  {size(bytes_)}" for path, bytes_ in largest]


def outputs(result: RunResult) -> list[str]:
    """Where to look at what stages left for people: the page or file that shows most of it."""
    lines = []
    for output in result.plan.outputs:
        pages = [output.directory / name for name in ("predictions.md", "gallery.html", "predictions.jsonl")]
        page = next((path for path in pages if path.is_file()), output.directory)
        lines.append(f"{output.name}: {shown(page)}")
    return lines


def shown(path: Path) -> str:
    """A path from the working directory where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _names(items: list[ItemState]) -> str:
    names = [f"{item.stage} {item.label}" for item in items]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
