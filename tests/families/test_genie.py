"""Tier 4: whole bundles of tiny models, whose binaries the vendor's runtime loads, and says what the CPU says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiers import GENIE
from tiny_models import TINY
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline

pytestmark = [pytest.mark.compiler, pytest.mark.matrix]


BELOW_WINDOW = {"gemma2": {"sliding_window": 64}, "ministral": {"sliding_window": 64}}
"""Families with windows on some layers, in a context that no window cuts: all layers read one mask then."""


@pytest.mark.parametrize("name", [*GENIE, *BELOW_WINDOW])
def test_a_bundle_says_in_genie_what_the_cpu_says(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime_qnn")
    family, changes = TINY[name]
    changes = changes | BELOW_WINDOW.get(name, {})
    sizes = {"hidden_size": 128, "intermediate_size": 192} | changes
    sizes |= {key: 64 for key in sizes if key == "moe_intermediate_size"}  # a block of weights
    path = write_recipe(tmp_path, family=family, technique="lpbq.yaml", **sizes)
    recipe = yaml.safe_load(path.read_text())
    del recipe["stages"]["convert"]  # the bundle holds no float DLCs
    recipe["stages"]["generate_context_binary"] = {}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache")
    result = pipeline.construct(RunOptions(executor="inline", jobs=1)).result
    assert result.status == "done", result.failed
    bundle = tmp_path / "cache" / "export_bundle"
    assert len(list(bundle.glob("*.serialized.bin"))) == 3
    assert (bundle / "genie_config.json").is_file()
    found = pipeline.verify("genie")
    (tokens,) = found.tokens
    print(name, tokens)
    assert found.passes, tokens
