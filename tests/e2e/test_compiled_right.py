"""A binary that the compiler got wrong is a failed item, and no bundle follows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions, RunResult
from qairt.llm import LLMPipeline
from qairt.model.layers import attention
from qairt.model.layers.attention import T
from qairt.model.ops import BlockOps
from qairt.runtime.emulation import REMEDY

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler


def norm_times_cosine(ops: BlockOps[T], x: T, cos: T, sin: T, *, rotated: int, dim: int, out: str) -> T:
    """The rotary embedding with the operands of its products the other way round."""
    x1 = ops.slice(x, 0, dim // 2, axis=-1, out=out + ".first")
    x2 = ops.slice(x, dim // 2, dim, axis=-1, out=out + ".second")
    first = ops.sub(
        ops.mul(x1, cos, out=out + ".first_cos"), ops.mul(x2, sin, out=out + ".second_sin"), out=out + ".rotated_first"
    )
    second = ops.add(
        ops.mul(x2, cos, out=out + ".second_cos"), ops.mul(x1, sin, out=out + ".first_sin"), out=out + ".rotated_second"
    )
    return ops.concat((first, second), axis=-1, out=out + ".rotated")


def built(folder: Path) -> tuple[LLMPipeline, RunResult]:
    """A Qwen3 with two query heads for each key head, whose heads are not single."""
    path = write_recipe(folder, family="qwen3", technique="minmax.yaml")
    recipe = yaml.safe_load(path.read_text())
    for stage in ("mha_to_sha_conversion", "convert"):
        del recipe["stages"][stage]
    recipe["stages"]["generate_context_binary"] = {}
    recipe["stages"]["split_model"]["num_splits"] = 2
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=folder / "cache")
    details = next(s.details for s in pipeline.plan().stages if s.stage.name == "generate_context_binary")
    assert str(details["emulate"]).startswith("auto, about "), details
    return pipeline, pipeline.construct(RunOptions(executor="inline", jobs=1)).result


def test_a_rewritten_form_is_a_failed_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "rotate", norm_times_cosine)
    pipeline, result = built(tmp_path)
    assert result.status == "failed"
    failed = {f"{failure.stage} {failure.label}": failure for failure in result.failed}
    assert set(failed) == {"generate_context_binary split2"}, "the embedding is right"
    first = failed["generate_context_binary split2"]
    assert first.what.startswith("the compiled graph differs from the same graph in ONNX Runtime: hidden_1 "), first
    assert "hidden_1" in first.what
    assert str(first.where).startswith("ar8-cl32_2_of_2, ")
    assert first.remedy == REMEDY
    (part,) = pipeline.verify("htp_emulator", part=2).parts()
    assert part.is_miscompiled, "verify tells it by the CPU on the same graph, whatever the float model says"
    assert not part.passes
    left = {item.name for item in pipeline.plan().to_run()}
    assert left == {*failed, "export_bundle all"}


def test_our_form_is_built(tmp_path: Path) -> None:
    pipeline, result = built(tmp_path)
    assert result.status == "done", result.failed
    assert pipeline.plan().to_run() == []
    (part,) = pipeline.verify("htp_emulator", part=2).parts()
    assert part.passes
    assert part.cpu_db is not None
    assert part.cpu_db > 40
