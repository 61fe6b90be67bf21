"""`auto_precision` and `distillation_steps` through the pipeline: what was chosen is what is exported and split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.quant.changed_weights import ChangedWeights
from qairt.quant.encodings_json import read_encodings


def opened(folder: Path, technique: str, recipe: str = "lpbq_gptq.yaml") -> LLMPipeline:
    path = write_recipe(folder, backend="CPU", technique=recipe, hidden_size=64, intermediate_size=128)
    overrides = [f"stages.quantization.technique={technique}"]
    return LLMPipeline.from_recipe(path, cache_dir=folder / "cache", overrides=overrides)


def finished(folder: Path, technique: str, recipe: str = "lpbq_gptq.yaml") -> LLMPipeline:
    pipeline = opened(folder, technique, recipe)
    result = pipeline.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return pipeline


def quantized(pipeline: LLMPipeline) -> tuple[Any, dict[str, Any]]:
    planned = next(planned for planned in pipeline.plan().stages if planned.stage.name == "quantization")
    output: Any = pipeline.cache.get(planned.items[0].key, type(planned.stage))
    return output, read_encodings(output.encodings.read_text()).params


@pytest.mark.parametrize("rotation", ["[]", "[R1]"])
def test_tuned_scales_and_norms_are_exported(tmp_path: Path, rotation: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = f"{{block_size: 32, distillation_steps: 4, distillation_rate: 0.003, rotation: {rotation}}}"
    pipeline = finished(tmp_path, settings)
    output, params = quantized(pipeline)
    changed = ChangedWeights(output.changed_weights)
    linears = {name for name, encoding in params.items() if encoding.blocks is not None}
    norms = {name for name in params if "norm" in name}
    assert set(changed) == linears | norms
    for name in linears:
        assert np.array_equal(params[name].nearest(changed[name]), changed[name])
    for rung in ("export", "split_model"):
        assert pipeline.verify(rung).first_below() is None
    assert "nats/token before" in capsys.readouterr().out


def test_mixed_bits_run_on_the_quantized_graphs(tmp_path: Path) -> None:
    pipeline = finished(tmp_path, "{block_size: 32, auto_precision: {budget_mb: 0.08}}")
    _, params = quantized(pipeline)
    bits = {name: encoding.bitwidth for name, encoding in params.items() if "_proj" in name}
    assert set(bits.values()) == {4, 8}
    assert pipeline.verify("quantize").first_below() is None
    assert pipeline.construct(RunOptions(executor="inline")).executed == []


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("fast.yaml", "{}"),
        ("balanced.yaml", "{}"),
        ("balanced.yaml", "{rotation: []}"),
        ("best.yaml", "{distillation_steps: 2}"),
    ],
)
def test_presets(tmp_path: Path, preset: str, changes: str) -> None:
    pipeline = finished(tmp_path, changes, preset)
    _, params = quantized(pipeline)
    linears = {name: encoding for name, encoding in params.items() if "_proj" in name}
    assert {encoding.bitwidth for encoding in linears.values()} <= {4, 8}
    assert {one.blocks.block_size for one in linears.values() if one.blocks is not None} == {32}
    assert pipeline.verify("quantize").first_below() is None
