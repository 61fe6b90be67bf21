"""A model with windows, and a rotary embedding of their own, through a whole run with a context above the window."""

from __future__ import annotations

from pathlib import Path

import yaml
from tiny_models import TINY
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline


def test_every_stage_computes_the_float_model(tmp_path: Path) -> None:
    family, changes = TINY["gemma3_text-scaled"]
    path = write_recipe(tmp_path, family=family, backend="CPU", technique="minmax.yaml", **changes)
    recipe = yaml.safe_load(path.read_text())
    del recipe["stages"]["export_bundle"]
    assert recipe["stages"]["prepare_exports"]["context_length"] == 32
    assert changes["sliding_window"] == 8
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache")
    result = pipeline.construct(RunOptions(executor="inline", jobs=1)).result
    assert result.status == "done", result.failed
    for part in pipeline.verify().parts():
        assert part.judged_db > (25 if part.rung == "quantize" else 100), part
