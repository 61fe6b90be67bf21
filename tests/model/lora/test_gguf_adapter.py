"""GGUF adapters: the values are those of the PEFT adapter that they were converted from."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from tiny_adapters import deltas, tiny_adapter, write_gguf_adapter
from tiny_models import hf_logits, tiny_model, write_tiny_gguf

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.lora.adapter import read_adapter
from qairt.model.open_weights import open_weights

NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "o_proj": "attn_output", "down_proj": "ffn_down"}
JOINED = {"qkv_proj": "attn_qkv", "gate_up_proj": "ffn_up", "down_proj": "ffn_down"}
CONVERT = "convert the adapter again with llama.cpp's convert_lora_to_gguf.py"


def config_of(directory, family):
    write_tiny_gguf(directory / "base.gguf", tiny_model(family))
    return describe_model(directory / "base.gguf").config


@pytest.mark.parametrize(("family", "names"), [("llama", NAMES), ("qwen3", NAMES), ("phi3", JOINED)])
def test_the_values_are_those_of_the_adapter_it_was_made_from(tmp_path, family, names):
    config = config_of(tmp_path, family)
    model = tiny_adapter(tiny_model(family), target_modules=[*names])
    path = tmp_path / "french.gguf"
    write_gguf_adapter(path, model, names, architecture=family)
    adapter = read_adapter("french", path, config)
    found = {name: (each.a @ each.b).T * each.scaling for name, each in adapter.modules.items()}
    cuts = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    for module, delta in deltas(model).items():
        block, _, projection = module.rpartition(".")
        parts = [found.pop(f"{block}.{part}") for part in cuts.get(projection, [projection])]
        np.testing.assert_allclose(np.concatenate(parts), delta, rtol=1e-5, atol=1e-6)
    assert not found
    assert adapter.files == (path,)


def test_a_gguf_base_with_its_adapter_gives_the_logits_of_peft(tmp_path):
    """The base's rows and the adapter's are permuted alike: added to what is read, they are the merged model."""
    config = config_of(tmp_path, "llama")
    model = tiny_adapter(tiny_model("llama"), target_modules=[*NAMES])
    write_gguf_adapter(tmp_path / "french.gguf", model, NAMES)
    adapter = read_adapter("french", tmp_path / "french.gguf", config)
    weights = open_weights(tmp_path / "base.gguf")
    base = tiny_model("llama")
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            values = np.array(weights.read(name))
            module = adapter.modules.get(name.removesuffix(".weight"))
            if module is not None:
                values += (module.a @ module.b).T * module.scaling
            parameter.copy_(torch.from_numpy(values))
    np.testing.assert_allclose(hf_logits(base, [3, 5, 7]), hf_logits(model, [3, 5, 7]), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("alpha", "scaling"), [(8.0, 2.0), (None, 1.0), (0.0, 1.0)])
def test_scaling(tmp_path, alpha, scaling):
    config = config_of(tmp_path, "llama")
    write_gguf_adapter(
        tmp_path / "a.gguf", tiny_adapter(tiny_model("llama")), {"q_proj": "attn_q", "v_proj": "attn_v"}, alpha=alpha
    )
    modules = read_adapter("a", tmp_path / "a.gguf", config).modules
    assert {module.scaling for module in modules.values()} == {scaling}


FAULTS = [
    (
        {"fields": {"general.type": "model"}},
        "this GGUF file is no adapter: its general.type is not adapter",
        CONVERT,
    ),
    ({"fields": {"adapter.type": "control_vector"}}, "this is an adapter of type control_vector", "use a LoRA adapter"),
    ({"alpha": float("nan")}, "adapter.lora.alpha is nan", CONVERT),
    (
        {"names": {"q_proj": "attn_q", "v_proj": "ssm_in"}},
        "blk.0.ssm_in.weight.lora_a adapts blk.0.ssm_in.weight, which is no linear of the model",
        "use an adapter that was trained on this model",
    ),
    (
        {"names": {"q_proj": "attn_q", "v_proj": "attn_output"}},
        "the adapter is of another model: blk.0.attn_output.weight.lora_b has shape [32, 4], "
        "for blk.0.attn_output.weight it must be [64, 4]",
        "use an adapter that was trained on this model",
    ),
]


@pytest.mark.parametrize(("changes", "what", "remedy"), FAULTS)
def test_faults(tmp_path, changes, what, remedy):
    config = config_of(tmp_path, "llama")
    path = tmp_path / "a.gguf"
    names = {"q_proj": "attn_q", "v_proj": "attn_v"}
    write_gguf_adapter(path, tiny_adapter(tiny_model("llama")), **{"names": names, **changes})
    with pytest.raises(ModelError) as error:
        read_adapter("a", path, config)
    assert str(error.value) == f"{path}: {what}\n  {remedy}"


def test_a_model_is_no_adapter(tmp_path):
    config = config_of(tmp_path, "llama")
    with pytest.raises(ModelError) as error:
        read_adapter("a", tmp_path / "base.gguf", config)
    what = "this GGUF file is no adapter: its general.type is not adapter"
    assert str(error.value) == f"{tmp_path}/base.gguf: {what}\n  {CONVERT}"


def test_trained_norms_are_refused(tmp_path):
    config = config_of(tmp_path, "llama")
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError) as error:
        read_adapter("a", tmp_path / "a.gguf", config)
    what = "the adapter holds tensors that are no A or B of a LoRA: blk.0.attn_norm.weight"
    assert str(error.value) == f"{tmp_path}/a.gguf: {what}\n  {CONVERT}"
