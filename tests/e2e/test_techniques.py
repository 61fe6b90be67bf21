"""Techniques that change weights, through the whole pipeline: what was chosen is what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.graph import files, weights_file
from qairt.llm import LLMPipeline
from qairt.quant.changed_weights import ChangedWeights
from qairt.quant.encodings_json import read_encodings

ROTATIONS = [[], ["R1", "R2"]]


def output_of(pipeline: LLMPipeline, stage: str) -> Any:
    planned = next(planned for planned in pipeline.plan().stages if planned.stage.name == stage)
    return pipeline.cache.get(planned.items[0].key, type(planned.stage))


@pytest.fixture(scope="module", params=ROTATIONS, ids=["plain", "rotated"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    recipe = write_recipe(
        tmp_path_factory.mktemp("gptq"),
        backend="CPU",
        technique="lpbq_gptq.yaml",
        hidden_size=64,
        intermediate_size=128,
    )
    pipeline = LLMPipeline.from_recipe(
        recipe,
        cache_dir=recipe.parent / "cache",
        overrides=[f"stages.quantization.technique={{block_size: 32, rotation: {request.param}}}"],
    )
    result = pipeline.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return pipeline


def test_every_rung_of_float_graphs_holds_what_was_exported(finished: LLMPipeline) -> None:
    for rung in ("export", "split_model", "mha_to_sha_conversion"):
        verification = finished.verify(rung)
        assert verification.first_below() is None


def test_the_exported_weights_are_the_changed_ones_and_lie_on_the_grid(finished: LLMPipeline) -> None:
    quantized = output_of(finished, "quantization")
    params = read_encodings(quantized.encodings.read_text()).params
    parts = [item for item in finished.plan().items if item.name.startswith("split_model ar1-")]
    held = {}
    for part in parts:
        graph = files.load(finished.cache.get(part.key, type(part.stage)).onnx).graph
        held |= {name: value.const_value for name, value in graph.initializers.items()}
    changed = ChangedWeights(quantized.changed_weights)
    linears = {name for name, encoding in params.items() if encoding.blocks is not None}
    assert set(changed) == linears
    taken = sum(path.stat().st_size for path in Path(quantized.changed_weights).iterdir())
    assert taken < sum(values.size for values in changed.values()) * 0.6 + 2500 * len(linears)
    for name, values in changed.items():
        assert np.array_equal(weights_file.read(held[name]), values)
        assert np.array_equal(params[name].nearest(values), values)


def test_quantsim_and_the_graphs_agree(finished: LLMPipeline) -> None:
    assert finished.recipe.source is not None
    text = Path(finished.recipe.source).parent / "text.txt"
    simulated, real = (finished.evaluate(target, dataset=text, chunks=8) for target in ("quantsim", "cpu"))
    assert real["perplexity"] == pytest.approx(simulated["perplexity"], rel=5e-3)


def test_it_generates(finished: LLMPipeline) -> None:
    with finished.generator("cpu") as generator:
        assert list(finished.answer(generator, "hello", max_new_tokens=3, chat=False))
