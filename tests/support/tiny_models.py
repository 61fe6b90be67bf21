"""Random models of each family, small enough for a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from qairt.model.families import FAMILIES

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny_model(family: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A Hugging Face model of `SIZES`, every parameter random (norms about 1, biases not zero)."""
    torch.manual_seed(seed)
    # Equal to the context, so that it makes no difference unless a test asks for one.
    own = {"sliding_window": SIZES["max_position_embeddings"]} if family == "mistral" else {}
    own = {"pad_token_id": 0} if family == "phi3" else own  # its default lies outside this vocabulary
    config = AutoConfig.for_model(family, **{**SIZES, **own, **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name else 0.0, std=0.2)
    return model


TINY = {
    f"{family.name}-{variant}" if variant else family.name: (family.name, dict(changes))
    for family in FAMILIES.values()
    for variant, changes in family.tiny.items()
}
"""Every family of the registry, and its variants: name -> `model_type` and keys of a configuration."""


IDS: list[int] = np.random.default_rng(0).integers(3, 128, 40).tolist()
"""A text."""
TOLERANCE = 2e-4
"""Of the largest logit."""


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    assert scale > 0.1  # a model of zeros would agree too
    assert np.abs(found - expected).max() < TOLERANCE * scale


def save_tiny(
    directory: Path, family: str, *, max_shard_size: str = "1GB", dtype: torch.dtype = torch.float32, **changes: Any
) -> PreTrainedModel:
    """Save a tiny model as safetensors into `directory`."""
    model = tiny_model(family, **changes).to(dtype)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    return model


@torch.no_grad()
def hf_logits(model: PreTrainedModel, ids: Sequence[int]) -> np.ndarray:
    """[len(ids), vocab] without a cache."""
    return model(torch.tensor([list(ids)])).logits[0].numpy()


@torch.no_grad()
def hf_decoded(model: PreTrainedModel, ids: Sequence[int], prompt: int) -> np.ndarray:
    """Prefill `prompt` tokens, decode the others with the cache: the logits after the prompt and after each."""
    output = model(torch.tensor([list(ids[:prompt])]), use_cache=True)
    rows = [output.logits[0, -1]]
    for token in ids[prompt:]:
        output = model(torch.tensor([[token]]), past_key_values=output.past_key_values, use_cache=True)
        rows.append(output.logits[0, -1])
    return torch.stack(rows).numpy()


# GGUF

_MODULES = {
    "embed_tokens": "token_embd",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "qkv_proj": "attn_qkv",
    "gate_up_proj": "ffn_up",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
    "norm": "output_norm",
    "lm_head": "output",
}


def quantize_like_gguf(model: PreTrainedModel, kind: GGMLQuantizationType) -> None:
    """Round the model's matrices to what a GGUF file of this kind can hold, in place."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                stored = gguf.quantize(parameter.numpy(), kind)
                parameter.copy_(torch.from_numpy(np.array(gguf.dequantize(stored, kind))))


def write_tiny_gguf(
    path: Path,
    model: PreTrainedModel,
    kind: GGMLQuantizationType = GGMLQuantizationType.F16,
    *,
    architecture: str | None = None,
    fields: dict[str, bool | int | float | str | list[int]] | None = None,
    extra: Iterable[str] = (),
    rope_factors: np.ndarray | None = None,
    tokens: Sequence[str] = (),
    without: Iterable[str] = (),
) -> None:
    """Write a model as llama.cpp's converter does: names, and query and key rows of the llama family permuted."""
    config = model.config
    architecture = architecture or ("llama" if config.model_type == "mistral" else config.model_type)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    if "block_count" not in (fields or {}):
        writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    given = fields or {}
    if "attention.head_count" not in given:
        writer.add_head_count(config.num_attention_heads)
    if "attention.head_count_kv" not in given:
        writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    for key, value in (fields or {}).items():
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add = kinds.get(type(value), writer.add_array)
        add(f"{architecture}.{key}", value)
    if tokens:
        writer.add_token_list(tokens)
        writer.add_token_merges([f"a {token}" for token in tokens])
    for name in extra:
        writer.add_tensor(name, np.ones(8, np.float32))
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors.astype(np.float32))
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        parts = name.split(".")
        module = _MODULES[parts[-2]]
        target = f"blk.{parts[2]}.{module}.{parts[-1]}" if parts[1] == "layers" else f"{module}.{parts[-1]}"
        if target in without:
            continue
        values = tensor.numpy()
        if architecture == "llama" and parts[-2] in ("q_proj", "k_proj"):
            heads = config.num_attention_heads if parts[-2] == "q_proj" else config.num_key_value_heads
            values = permuted(values, heads)
        if values.ndim == 2:
            writer.add_tensor(target, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(values: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
