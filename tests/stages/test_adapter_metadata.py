"""`LoRAAdapterMetadata`, as loading the model writes it."""

from __future__ import annotations

import json
import sys

import peft
import pytest
import yaml
from adapted_recipe import write_adapted_recipe
from tiny_adapters import rewrite_tensors, tiny_adapter, write_gguf_adapter
from tiny_models import tiny_model, write_tiny_gguf

from qairt.llm import LLMPipeline
from qairt.model.describe import describe_model
from qairt.model.lora.adapter import read_adapter
from qairt.stages.adapter_metadata import read_metadata, write_metadata
from qairt.stages.model_loading import LoadedModel


def test_loading_the_model_tells_about_its_adapters(tmp_path):
    """The vendor's `LoRAAdapterMetadata`; retrained values of the same settings do not make it anew."""
    write_adapted_recipe(tmp_path)
    content = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**content, "stages": {"model_loading": {}}}))
    made = LLMPipeline.from_recipe(tmp_path / "recipe.yaml").construct()
    metadata = read_metadata(made.finished().only_output("model_loading", LoadedModel).adapters)
    assert metadata.alpha_scalings == {"french": [2.0] * 6, "poems": [4.0] * 6, "brief": [8 / 3**0.5] * 4}
    assert metadata.max_alpha_scale == 8 / 3**0.5
    assert [type(config).__name__ for config in metadata.peft_configs.values()] == ["LoraConfig"] * 3
    assert {name: config.r for name, config in metadata.peft_configs.items()} == {"french": 4, "poems": 2, "brief": 3}
    for name, config in metadata.peft_configs.items():
        assert config == peft.PeftConfig.from_pretrained(str(tmp_path / name))

    rewrite_tensors(tmp_path / "french", lambda tensors: next(iter(tensors.values())).mul_(2))
    assert all(item.cached for item in LLMPipeline.from_recipe(tmp_path / "recipe.yaml").plan().items)
    path = tmp_path / "french" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 4}))
    assert not any(item.cached for item in LLMPipeline.from_recipe(tmp_path / "recipe.yaml").plan().items)


def test_a_gguf_adapter_is_told_as_peft_would_state_it(tmp_path):
    write_tiny_gguf(tmp_path / "base.gguf", tiny_model("llama"))
    model = tiny_adapter(tiny_model("llama"), rank_pattern={"v_proj": 2})
    write_gguf_adapter(tmp_path / "a.gguf", model, {"q_proj": "attn_q", "v_proj": "attn_v"})
    adapter = read_adapter("a", tmp_path / "a.gguf", describe_model(tmp_path / "base.gguf").config)
    write_metadata(tmp_path / "adapters.json", {"a": adapter})
    metadata = read_metadata(tmp_path / "adapters.json")
    assert metadata.alpha_scalings == {"a": [2.0, 4.0, 2.0, 4.0]}
    config = metadata.peft_configs["a"]
    assert (config.r, config.lora_alpha, config.alpha_pattern) == (4, 8.0, {})
    assert config.rank_pattern == {f"model.layers.{layer}.self_attn.v_proj": 2 for layer in (0, 1)}
    assert config.target_modules == {*adapter.modules}


def test_writing_it_does_not_wait_for_peft(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Importing PEFT takes longer than all else that an added adapter makes anew."""
    write_adapted_recipe(tmp_path)
    adapter = read_adapter("a", tmp_path / "french", describe_model(tmp_path / "model").config)
    monkeypatch.setitem(sys.modules, "peft", None)
    write_metadata(tmp_path / "adapters.json", {"a": adapter})
    stated = json.loads((tmp_path / "adapters.json").read_text())
    assert stated["peft_configs"]["a"] == json.loads((tmp_path / "french" / "adapter_config.json").read_text())
