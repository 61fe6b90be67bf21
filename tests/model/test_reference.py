"""The reference computes what Hugging Face computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from tiny_models import (
    hf_decoded,
    hf_logits,
    quantize_like_gguf,
    save_tiny,
    tiny_model,
    write_tiny_gguf,
)
from transformers import PreTrainedModel

from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.model.torch_ops import TorchOps

IDS = list(range(3, 43))
TOLERANCE = 1e-4

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-multi-head": ("llama", {"num_key_value_heads": 4}),
    "llama-wide-heads": ("llama", {"head_dim": 32}),
    "mistral": ("mistral", {}),
    "mistral-one-kv-head": ("mistral", {"num_key_value_heads": 1, "sliding_window": None}),
    "phi3": ("phi3", {}),
    "phi3-one-kv-head": ("phi3", {"num_key_value_heads": 1}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
    "qwen3-tied-biases": ("qwen3", {"tie_word_embeddings": True, "attention_bias": True}),
    "linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "dynamic": (
        "llama",
        {
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
            "max_position_embeddings": 16,
        },
    ),
    "yarn": ("qwen2", {"rope_parameters": YARN}),
    "yarn-stated-factor": ("qwen3", {"rope_parameters": YARN | {"attention_factor": 1.3, "truncate": False}}),
    "llama3": ("llama", {"rope_parameters": LLAMA3}),
}


def reference_of(path: Path) -> Reference:
    description = describe_model(path)
    return Reference(open_parameters(description.source, description.config))


def assert_same_model(reference: Reference, model: PreTrainedModel) -> None:
    """Prefill as a whole, then prefill and decode with the cache."""
    expected = hf_logits(model, IDS)
    assert np.abs(reference.logits(IDS).numpy() - expected).max() < TOLERANCE
    assert np.abs(expected).max() > 0.5  # a model of zeros would agree too

    hf_logits(model, IDS[:1])  # dynamic scaling remembers the longest text until it sees a short one
    expected = hf_decoded(model, IDS, prompt=30)
    rows = [reference.prefill(IDS[:30])] + [reference.decode(token) for token in IDS[30:]]
    assert np.abs(np.stack(rows) - expected).max() < TOLERANCE
    assert reference.length == len(IDS)


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_hugging_face(name: str, tmp_path: Path) -> None:
    family, changes = MODELS[name]
    model = save_tiny(tmp_path, family, **changes)
    reference = reference_of(tmp_path)
    assert reference.config.family == family
    assert_same_model(reference, model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_are_read_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    tiny_model("llama").to(dtype).save_pretrained(tmp_path)
    model = tiny_model("llama")  # the same weights; `to` would have rounded the rotary frequencies too
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    assert_same_model(reference_of(tmp_path), model)


def test_shards_are_read_as_one_model(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "qwen3", max_shard_size="60KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same_model(reference_of(tmp_path), model)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1", "Q5_0"])
def test_gguf_of_the_llama_family(kind: str, tmp_path: Path) -> None:
    """Query and key rows are stored permuted."""
    model = tiny_model("llama")
    quantize_like_gguf(model, GGMLQuantizationType[kind])
    write_tiny_gguf(tmp_path / "m.gguf", model, GGMLQuantizationType[kind])
    assert_same_model(reference_of(tmp_path / "m.gguf"), model)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("mistral", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
    ],
)
def test_gguf_of_every_family(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(family, **changes)
    quantize_like_gguf(model, GGMLQuantizationType.Q8_0)
    write_tiny_gguf(tmp_path / "m.gguf", model, GGMLQuantizationType.Q8_0)
    assert_same_model(reference_of(tmp_path / "m.gguf"), model)


def test_gguf_with_yarn(tmp_path: Path) -> None:
    model = tiny_model("qwen2", rope_parameters=YARN)
    fields = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 16,
    }
    quantize_like_gguf(model, GGMLQuantizationType.F16)
    write_tiny_gguf(tmp_path / "m.gguf", model, fields=fields)
    assert_same_model(reference_of(tmp_path / "m.gguf"), model)


def test_tap_sees_every_tensor_of_a_block_by_name(tmp_path: Path) -> None:
    save_tiny(tmp_path, "qwen2")
    reference = reference_of(tmp_path)
    seen: dict[str, torch.Tensor] = {}
    past = reference.empty_past(1, 3)
    hidden = reference.embed([1, 2, 3, 4, 5])
    positions = reference.positions(5, past=3)
    hidden, (new_key, _) = reference.run_block(1, hidden, positions, past, tap=seen.__setitem__)
    assert {"layers.1.attn.q.matmul", "layers.1.attn.q", "layers.1.attn.probs", "past_key_1_out", "hidden_2"} <= set(
        seen
    )
    assert seen["layers.1.attn.scores"].shape == (2, 2, 5, 8)
    assert torch.equal(seen["hidden_2"], hidden)
    assert torch.equal(seen["past_key_1_out"], new_key)
    assert not torch.equal(seen["layers.1.attn.q.matmul"], seen["layers.1.attn.q"])  # the bias


def test_only_the_last_block_is_held_unless_asked(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    description = describe_model(tmp_path)
    parameters = open_parameters(tmp_path, description.config)
    sparing, keeping = Reference(parameters), Reference(parameters, keep_weights=True)
    for reference in (sparing, keeping):
        reference.prefill([1, 2, 3])
    assert set(sparing._ops._weights) == {"model.norm.weight", "lm_head.weight"}
    assert set(keeping._ops._weights) == set(parameters.names())
    keeping.release()
    assert keeping._ops._weights == {}


def test_reset_forgets(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    reference = reference_of(tmp_path)
    first = reference.prefill([5, 6, 7])
    reference.reset()
    assert reference.length == 0
    np.testing.assert_array_equal(reference.prefill([5, 6, 7]), first)


def test_rms_norm_is_float32_and_keeps_large_values(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    description = describe_model(tmp_path)
    ops = TorchOps(open_parameters(tmp_path, description.config))
    x = torch.full((1, 1, 64), 1e15)
    normed = ops.rms_norm(x, "model.norm.weight", 1e-6, out="y")
    torch.testing.assert_close(normed[0, 0], ops.weight("model.norm.weight"))
