"""The stages of a run: their items and resources, why items ran, and the reports that stages wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from qairt.engine.cache.entry import Entry
from qairt.engine.plan.output_record import OutputRecords
from qairt.engine.record.item_state import MADE, ItemState
from qairt.engine.record.state import RunState
from qairt.engine.run.gallery import page_in
from qairt.report.facts import Output, Reason, StageLine, StageUsage

_LABELS = 4
"""Items that are named per reason and stage."""


def stage_line(
    name: str, state: RunState, entries: Mapping[tuple[str, str], Entry], metrics: Mapping[str, object]
) -> StageLine:
    """One stage of a run.

    Args:
        entries: of the run's items in the cache.
        metrics: the content of `metrics.json`.
    """
    items = [item for item in state.items.values() if item.stage == name]
    ran = [item for item in items if item.started is not None or item.status in ("done", "warn")]
    cached = [entry for (stage, _), entry in entries.items() if stage == name]
    record = metrics.get(name)
    record = record if isinstance(record, dict) else {}
    earlier = f"run {record['run']}" if record.get("run") else "an earlier run"
    return StageLine(
        name=name,
        built=sum(item.status in ("done", "warn") for item in items),
        cached=sum(item.status == "cached" for item in items),
        failed=sum(item.status == "failed" for item in items),
        on_demand=sum(item.status == "on_demand" for item in items),
        pending=sum(item.status not in MADE and item.status != "failed" for item in items),
        usage=_usage_of_items(ran) if ran else _earlier_usage(cached, record),
        size=sum(
            {str(file["sha256"]): int(file["size"]) for entry in cached for file in entry.files.values()}.values()
        ),
        earlier=earlier if not ran and cached else "",
    )


def _usage_of_items(items: Sequence[ItemState]) -> StageUsage:
    return StageUsage(
        seconds=sum(item.seconds for item in items),
        cpu_seconds=sum(item.cpu_seconds for item in items),
        peak_ram=max(item.peak_rss for item in items),
        bytes_read=sum(item.bytes_read for item in items),
        bytes_written=sum(item.bytes_written for item in items),
    )


def _earlier_usage(entries: Sequence[Entry], record: Mapping[str, float | None]) -> StageUsage:
    """What the run that built the items took, from the cache and the stage's record in `metrics.json`."""
    return StageUsage(
        seconds=sum(entry.seconds for entry in entries),
        cpu_seconds=float(record.get("cpu_seconds") or 0.0),
        peak_ram=max((entry.peak_rss for entry in entries), default=0),
        bytes_read=int(record.get("bytes_read") or 0),
        bytes_written=int(record.get("bytes_written") or 0),
    )


def _contents(entries: Sequence[Entry]) -> dict[str, int]:
    """Sizes by digest: equal contents count once."""
    return {str(file["sha256"]): int(file["size"]) for entry in entries for file in entry.files.values()}


def reasons_of(state: RunState) -> list[Reason]:
    """Why items ran, grouped by reason."""
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


def outputs_of(state: RunState, state_folder: Path) -> list[Output]:
    """What stages wrote for people about the items of this run: by the run itself, or afterwards."""
    found: dict[tuple[str, str], tuple[str, Path, Sequence[str]]] = {
        key: (output.status, Path(output.directory), output.files) for key, output in state.outputs.items()
    }
    for stage, kinds in OutputRecords(state_folder).read().items():
        items = {item.label: item.key for item in state.items.values() if item.stage == stage}
        for kind, record in kinds.items():
            if record.inputs.get("items") == items:
                found[stage, kind] = ("written", record.directory, sorted(record.files))
    order = {name: place for place, name in enumerate(state.stages())}
    return [
        Output(stage, kind, status, _in_cache(folder, Path(state.cache_dir)), files, page_in(folder))
        for (stage, kind), (status, folder, files) in sorted(found.items(), key=lambda each: order.get(each[0][0], -1))
    ]


def _in_cache(path: Path, cache_dir: Path) -> str:
    return str(path.relative_to(cache_dir)) if path.is_relative_to(cache_dir) else str(path)


def _some(labels: Sequence[str], of: int) -> str:
    """The first labels; empty if the stage has only one item."""
    if len(labels) == of:
        return f"all {of}" if of > 1 else ""
    return ", ".join(labels[:_LABELS]) + (f" and {len(labels) - _LABELS} more" if len(labels) > _LABELS else "")
