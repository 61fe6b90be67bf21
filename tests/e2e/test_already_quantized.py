"""A checkpoint that is already quantized, from its folder to the bundle: it is read, and everything says so."""

from __future__ import annotations

from pathlib import Path

import yaml
from tiny_quantized import store_as_fp8
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.report.gather import gather

STORED = "FP8, 8 bits, blocks of 32 x 32"


def test_plan_report_and_metadata_say_that_the_weights_were_quantized_before(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, backend="CPU", technique="minmax.yaml")
    store_as_fp8(tmp_path / "model", (32, 32))
    pipeline = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    plan = pipeline.plan()
    (notice,) = [each for each in pipeline.notes() if "already quantized" in each]
    assert notice == (
        f"the weights are already quantized ({STORED}): the float model is what they stand for, and errors are "
        "measured from it, not from the model they were made from"
    )
    assert plan.as_dict()["stages"][0]["details"]["already quantized"] == STORED
    result = pipeline.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    metadata = yaml.safe_load((pipeline.cache_dir / "export_bundle" / "metadata.yaml").read_text())
    assert metadata["weights_already_quantized"] == STORED
    assert gather(pipeline.cache, "recipe.yaml").notes[0] == (
        f"The model's weights were already quantized ({STORED}); errors are measured from these weights, not from the "
        "model they were made from."
    )
