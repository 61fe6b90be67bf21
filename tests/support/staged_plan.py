"""A plan of the SmolLM2 recipe that needs no model: its 40 items, with fixed keys, times and sizes.

`quantize` changed since the last run, so it and later stages run again; earlier ones are reused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qairt.engine.axes import Coord, label
from qairt.engine.cache.cache import key_inputs
from qairt.engine.cache.entry import ENTRY, Entry
from qairt.engine.plan.cause import cause_of
from qairt.engine.plan.costs import Expectation
from qairt.engine.plan.planned import Plan, PlannedItem, StagePlan
from qairt.engine.stage import Estimate, Expansion, Stage, StageConfig, Task
from qairt.keys import digest
from qairt.llm import LLMPipeline

NOW = 1_763_735_400.0
"""The time in pictures: 2025-11-21 14:30 UTC."""
CACHE = Path("qairt-cache/smollm2-135m")
"""Relative, so that no folder of this machine is shown."""
STATE = CACHE / "pipeline_state"
RECIPE = "smollm2-135m.yaml"

_MEGABYTE = 10**6
_SHAPES: dict[str, tuple[str, float, int, int, str]] = {
    "model_loading": ("", 2, 300, 4, "config.json"),
    "quantization": ("", 41, 1240, 58, "model.encodings"),
    "export": ("", 4, 526, 651, "model.onnx"),
    "prepare_exports": ("ar", 2, 300, 4, "model.onnx"),
    "split_model": ("ar split", 3, 768, 24, "part.onnx"),
    "mha_to_sha_conversion": ("ar split", 4, 600, 180, "part.onnx"),
    "convert": ("ar split", 7, 1040, 163, "part.dlc"),
    "quantize": ("ar split", 22, 852, 81, "quantized.dlc"),
    "generate_context_binary": ("split", 240, 1140, 41, "part.bin"),
    "export_bundle": ("", 2, 200, 163, "bundle.tar"),
}
"""By stage: axes, then per item seconds, MB of memory, MB on disk, and its large file."""
_CHANGED = "quantize"


def open_pipeline(text: str | None = None) -> LLMPipeline:
    """The pipeline of the recipe that lies in this repository, copied into the working directory."""
    path = Path(RECIPE)
    if not path.exists():
        source = Path(__file__).parents[2] / "recipes" / RECIPE
        path.write_text(source.read_text().replace("../.demo/", "models/"))
        shutil.copytree(source.parent / "quantization", "quantization")
    if text is not None:
        path.write_text(text)
    pipeline = LLMPipeline.from_recipe(path)
    pipeline.cache_dir = CACHE
    return pipeline


def staged_plan(pipeline: LLMPipeline, *, fresh: bool = False) -> Plan:
    """The plan; with `fresh`, nothing is cached."""
    batch: dict[Coord, PlannedItem] = {}
    plan = Plan()
    for stage in pipeline.configured_stages:
        items = []
        for coord in _coords(stage.name):
            item = _item(stage, coord, _sources(stage.name, coord, batch))
            if not fresh:
                before = _before(item)
                plan.known[before.key] = item.last = before
                item.entry = before if before.key == item.key else None
            items.append(item)
        if stage.name == "mha_to_sha_conversion":  # the first part has no attention
            batch |= {item.coord: item for item in items}
        else:
            batch = {item.coord: item for item in items}
        plan.stages.append(StagePlan(stage, items, dict(batch), Expansion([each.task for each in items]), {}, {}, True))  # type: ignore[arg-type]
    for item in plan.to_run():
        item.cause, item.reason = cause_of(item, plan.known, forced=False, never=False)
    return plan


def keep(entries: Sequence[Entry]) -> None:
    """Put entries into the cache directory; their files are sparse."""
    for entry in entries:
        entry.directory.mkdir(parents=True)
        for name, file in entry.files.items():
            (entry.directory / name).touch()
            os.truncate(entry.directory / name, file["size"])
        record = {"key": entry.key, "stage_name": entry.stage, "label": entry.label, "timestamp": entry.timestamp}
        record |= {"files": entry.files, "inputs": entry.inputs, "seconds": entry.seconds}
        record |= {"peak_rss": entry.peak_rss, "new_bytes": entry.new_bytes, "artifact_path": str(entry.directory)}
        (entry.directory / ENTRY).write_text(json.dumps(record))


def entry_of(item: PlannedItem, key: str, config: StageConfig, *, ago: float) -> Entry:
    """The cache entry of a finished item."""
    _, _, ram, megabytes, name = _SHAPES[item.stage.name]
    size = megabytes * _MEGABYTE + 7919 * _place(item.coord)
    return Entry(
        directory=STATE / item.stage.name / f"{item.stage.name}_{key[:8]}",
        key=key,
        stage=item.stage.name,
        label=item.label,
        timestamp=datetime.fromtimestamp(NOW - ago, UTC).isoformat(timespec="microseconds"),
        files={name: {"size": size, "sha256": digest([key])}, "note.json": {"size": 412, "sha256": digest([name])}},
        inputs=_inputs(item, config, {source.name: _old_key(source) for source in item.sources}),
        seconds=_seconds(item.stage.name, item.coord),
        peak_rss=ram * _MEGABYTE,
        new_bytes=size,
    )


# Inside


def _coords(stage: str) -> list[Coord]:
    axes = _SHAPES[stage][0].split()
    splits = range(2 if stage == "mha_to_sha_conversion" else 1, 5)
    if axes == ["ar", "split"]:
        return [(("ar", ar), ("split", split)) for ar in (1, 128) for split in splits]
    if axes:
        return [((axes[0], value),) for value in ((1, 128) if axes == ["ar"] else splits)]
    return [()]


def _sources(stage: str, coord: Coord, batch: dict[Coord, PlannedItem]) -> list[PlannedItem]:
    """Those of the items so far whose coordinate leads to this one."""
    mine = dict(coord)
    return [
        item
        for other, item in batch.items()
        if all(mine.get(axis, value) == value for axis, value in other)
        and (stage != "mha_to_sha_conversion" or item.stage.name == "split_model")
    ]


def _item(stage: Stage[Any, Any, Any], coord: Coord, sources: list[PlannedItem]) -> PlannedItem:
    _, _, ram, megabytes, _ = _SHAPES[stage.name]
    seconds = _seconds(stage.name, coord)
    item = PlannedItem(
        stage=stage,
        task=Task(coord=coord, sources=tuple(source.coord for source in sources), estimate=Estimate()),
        config=stage.config,
        sources=sources,
        key=digest([stage.name, label(coord), _is_changed(stage.name)]),
        inputs={},
        entry=None,
        last=None,
        expected=Expectation(seconds, seconds * 0.85, seconds * 1.3, ram * _MEGABYTE, megabytes * _MEGABYTE, samples=3),
        bytes=megabytes * _MEGABYTE,
        reason="not built yet",
    )
    item.inputs = _inputs(item, item.config, {source.name: source.key for source in sources})
    return item


def _before(item: PlannedItem) -> Entry:
    config = item.config
    if item.stage.name == _CHANGED:
        config = config.model_copy(update={"act_bitwidth": 8})
    return entry_of(item, _old_key(item), config, ago=2 * 86400 + 3600 - 60 * _place(item.coord))


def _is_changed(stage: str) -> bool:
    names = list(_SHAPES)
    return names.index(stage) >= names.index(_CHANGED)


def _old_key(item: PlannedItem) -> str:
    return digest([item.stage.name, item.label, False])


def _inputs(item: PlannedItem, config: StageConfig, sources: dict[str, str]) -> dict[str, Any]:
    facts = (("version", item.stage.version), ("coordinate", item.label), ("params", {}), ("facts", ()))
    upstream = digest(list(sources.values())) if sources else None
    inputs = key_inputs(item.stage.name, config, upstream, (*facts, ("sources", sources)))
    if item.stage.name == _CHANGED:  # as with the SDK's quantizer, which is told it
        inputs["config"] |= {"act_bitwidth": config.model_dump()["act_bitwidth"]}
    return inputs


def _seconds(stage: str, coord: Coord) -> float:
    first_is_small = stage == "generate_context_binary" and coord == (("split", 1),)
    return 58.0 if first_is_small else _SHAPES[stage][1] * (1 + _place(coord) / 40)


def _place(coord: Coord) -> int:
    mine = dict(coord)
    return (4 if mine.get("ar") == 128 else 0) + mine.get("split", 0)
