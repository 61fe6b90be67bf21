"""The last rung of `qairt verify`: a tiny model's parts through the real compiler and its emulator."""

from __future__ import annotations

import pytest
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.toolchain.qnn import wheel

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    recipe = write_recipe(tmp_path_factory.mktemp("emulated"), technique="minmax.yaml")
    made = LLMPipeline.from_recipe(recipe, cache_dir=recipe.parent / "cache")
    result = made.construct(RunOptions(executor="inline", until="quantize"))
    assert result.status == "done", result.failed
    return made


def test_the_emulator_announces_its_cost_reads_few_tokens_and_is_close_to_the_cpu(finished: LLMPipeline):
    said: list[str] = []
    found = finished.verify("htp_emulator", notify=said.append)
    assert said[0].startswith("htp_emulator: compiles 3 parts for AR 1 and 8 and emulates them: 2 calls chained, ")
    assert "; about " in said[0]
    (rung,) = found.rungs
    assert rung.tokens == 9, "one call of AR 8, and one token"
    assert {(output.part, output.ar, output.way) for output in rung.outputs} == {
        (part, ar, way) for part in (1, 2, 3) for ar in (1, 8) for way in ("isolated", "chained")
    }
    assert min(output.cpu_db or 0.0 for output in rung.outputs) > 30
    assert found.first_below() is None
    again = finished.verify("htp_emulator")
    assert again.reused == ("htp_emulator",)
    assert again.rungs == found.rungs
    facts = finished.cache.entries("verify").__next__().inputs["extras"]
    assert (facts["toolchain"], facts["soc"]) == (wheel.version(), "SM8650")
