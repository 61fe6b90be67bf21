"""The end of a run: what each stage took, what failed, and where the results are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from qairt.amounts import count, duration, size
from qairt.cli import exit_codes
from qairt.cli.console import emit, report, table
from qairt.cli.failures import report_item
from qairt.cli.text.place import shown
from qairt.engine.record.item_state import MADE, ItemState
from qairt.engine.record.state import RunState

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


def print_outcome(result: RunResult, watcher: Watcher, pipeline: Pipeline) -> None:
    """Print the table of stages, then the results or the failures."""
    if result.executed:
        emit()
        for line in stage_table(watcher):
            emit(line)
    print_end(result, watcher.state, pipeline)


def print_end(result: RunResult, state: RunState, pipeline: Pipeline) -> None:
    """Print where the results are, or what failed."""
    for failure in (*result.failed, *result.failed_outputs):
        report("")
        item = state.items.get((failure.stage, failure.label))
        report_item(failure, log=item.log if item else "")
    if result.output is not None:
        emit()
        for line in (*results(result, pipeline), *reports(result)):
            emit(line)
        if not result.failed_outputs:
            from qairt.cli.text.next_step import after_run, tell_next

            tell_next(after_run(result.plan), pipeline)
        if result.failed_outputs:
            lost = count(len(result.failed_outputs), "report")
            report("")
            report(f"Every item is finished, but {lost} could not be written. Run again to write what is missing.")
        return
    skipped = [item for item in state.items.values() if item.status not in MADE | {"failed"}]
    kept = count(state.count("done", "warn", "cached"), "finished item is", "finished items are")
    report("")
    if result.status == "interrupted":
        report(f"Interrupted after {duration(state.seconds)}. {kept} kept: the same command resumes there.")
    else:
        lost = f", {len(skipped)} skipped because of that ({_names(skipped)})" if skipped else ""
        report(f"{count(len(result.failed), 'item')} failed{lost}. {kept} kept: run again to resume there.")


def stage_table(watcher: Watcher) -> list[str]:
    """One line per stage: items, time, fraction of the wall time, memory, bytes."""
    by_stage: dict[str, list[ItemState]] = {}
    for item in watcher.state.items.values():
        by_stage.setdefault(item.stage, []).append(item)
    rows = []
    for stage, items in by_stage.items():
        ran = [item for item in items if item.status in ("done", "warn")]
        by_status = Counter(item.status for item in items)
        rows.append(
            (
                stage,
                str(len(ran) or ""),
                str(by_status["cached"] or ""),
                duration(sum(item.seconds for item in ran)) if ran else "",
                f"{watcher.wall_time.fraction(stage):.0%}" if ran else "",
                size(max(item.peak_rss for item in ran)) if ran and ran[0].peak_rss else "",
                size(sum(item.written for item in ran)) if ran else "",
            )
        )
    total = watcher.state
    done = [item for item in total.items.values() if item.status in ("done", "warn")]
    rows.append(
        (
            "whole run",
            str(len(done)),
            str(total.count("cached") or ""),
            duration(total.seconds),
            "100%",
            size(total.peak_ram) if total.peak_ram else "",
            size(sum(item.written for item in done)),
        )
    )
    header = ("stage", "ran", "cached", "time", "wall", "peak RAM", "written")
    return table(rows, header=header, right=(1, 2, 3, 4, 5, 6))


def results(result: RunResult, pipeline: Pipeline) -> list[str]:
    """The folder of the last stage's outputs, with its largest files."""
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


def reports(result: RunResult) -> list[str]:
    """The page or file of each report that stages wrote."""
    from qairt.engine.run.gallery import page_in

    return [f"{output.name}: {shown(page_in(output.directory) or output.directory)}" for output in result.plan.outputs]


def _names(items: list[ItemState]) -> str:
    names = [f"{item.stage} {item.label}" for item in items]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
