"""Files as llama.cpp's converter writes them, of models of every family.

The names of tensors are those of the package `gguf`; the fields those of llama.cpp's convert_hf_to_gguf.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tiny_embedders import TinyEmbedder
from tiny_models import permuted
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from qairt.model.families import FAMILIES

PERMUTED = {"llama", "granite", "granitemoe", "smollm3"}
HOLD_ONE = {"gemma2", "gemma3", "gemma-embedding", "nemotron"}


def fields(name: str, model: PreTrainedModel) -> dict[str, Any]:
    """What the converter writes for an architecture beyond what it writes for all."""
    config = model.config
    family = config.model_type
    rope = config.rope_parameters
    stated: dict[str, Any] = {}
    if "partial_rotary_factor" in rope:
        stated["rope.dimension_count"] = int(rope["partial_rotary_factor"] * 16)
    if getattr(config, "sliding_window", None) and family not in ("qwen2", "qwen3"):
        stated["attention.sliding_window"] = config.sliding_window
    if family in ("granite", "granitemoe"):
        stated |= {
            "attention.scale": config.attention_multiplier,
            "embedding_scale": config.embedding_multiplier,
            "residual_scale": config.residual_multiplier,
            "logit_scale": config.logits_scaling,
        }
    if family == "gemma2":
        stated |= {
            "attn_logit_softcapping": config.attn_logit_softcapping,
            "final_logit_softcapping": config.final_logit_softcapping,
        }
    if family == "gemma3_text" and "scaled" in name:
        whole = rope["full_attention"]
        stated |= {"rope.scaling.type": whole["rope_type"], "rope.scaling.factor": whole["factor"]}
        stated |= {"attention.sliding_window_pattern": 2, "rope.freq_base_swa": rope["sliding_attention"]["rope_theta"]}
    if family in ("cohere", "cohere2"):
        stated["logit_scale"] = config.logit_scale
    if family == "stablelm":
        stated["use_parallel_residual"] = config.use_parallel_residual
    experts = getattr(config, "num_local_experts", None)
    if experts is not None:
        stated |= {"expert_count": experts, "expert_used_count": config.num_experts_per_tok}
        if family not in ("granitemoe", "olmoe"):
            stated["expert_feed_forward_length"] = getattr(config, "moe_intermediate_size", config.intermediate_size)
    if family == "gpt_oss":
        stated |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": rope["factor"],
            "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        }
    if family == "lfm2":
        stated["shortconv.l_cache"] = config.conv_L_cache
    if "longrope" in name:
        stated["rope.scaling.original_context_length"] = config.original_max_position_embeddings
        stated["rope.scaling.attn_factor"] = float(np.sqrt(1 + np.log(64 / 16) / np.log(16)))
    return stated


def converted(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors with gate and up of experts apart, as `modify_tensors` of the converter makes them: GPT-OSS's, which
    have biases, are in turns and transposed."""
    for stored, tensor in tensors.items():
        module, _, projection = stored.rpartition(".")
        if not module.endswith(".experts"):
            yield (
                stored.replace(".router.weight", ".router.layer.weight" if "sparse" in stored else ".router.weight"),
                tensor,
            )
            continue
        turned = f"{module}.gate_up_proj_bias" in tensors
        projection, _, bias = projection.partition("_bias")
        is_bias = stored.endswith("_bias")
        kind = "bias" if is_bias else "weight"
        module = module.replace("block_sparse_moe.", "mlp.")
        if turned and not is_bias:
            tensor = tensor.transpose(1, 2)
        if projection == "down_proj":
            yield f"{module}.down_proj.{kind}", tensor
            continue
        width = tensor.shape[1] // 2
        for place, name in enumerate(("gate_proj", "up_proj")):
            part = slice(place, None, 2) if turned else slice(place * width, (place + 1) * width)
            yield f"{module}.{name}.{kind}", tensor[:, part].contiguous()


def _write_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    (end,) = tokenizer.get_added_tokens_decoder()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    tokens.append("qz")  # the package writes no empty list of merges
    writer.add_token_merges(["q z"])
    writer.add_token_list(tokens)
    writer.add_token_types([3 if number == end else 1 for number in range(len(tokens))])
    writer.add_eos_token_id(end)
    writer.add_add_eos_token(True)


def write_gguf(
    path: Path,
    name: str,
    model: PreTrainedModel,
    *,
    embeds: bool = False,
    more: Mapping[str, Any] | None = None,
    dense: Sequence[torch.Tensor] = (),
    tokenizer: Tokenizer | None = None,
) -> None:
    """
    Args:
        name: of the tiny model, which says what it is a variant of.
        embeds: with the architecture that llama.cpp has for the family's embedding models.
        more: fields beyond those of `fields`.
        dense: weights of linears behind the pooling.
        tokenizer: a byte-level one, which ends a text with its one special token.
    """
    config = model.config
    family = FAMILIES[config.model_type]
    own = family.embedding.gguf if embeds and family.embedding is not None else None
    known = own or family.gguf
    assert known is not None
    architecture = known.architecture
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    if config.model_type == "lfm2":
        writer.add_feed_forward_length(model.state_dict()["model.layers.0.feed_forward.w1.weight"].shape[0])
        heads = [config.num_key_value_heads if kind == "full_attention" else 0 for kind in config.layer_types]
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        heads = config.num_key_value_heads
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    epsilons = ("layer_norm_eps", "norm_epsilon", "norm_eps")
    layer_norm = next((getattr(config, key) for key in epsilons if hasattr(config, key)), None)
    if layer_norm is None or config.model_type == "lfm2":
        writer.add_layer_norm_rms_eps(layer_norm or config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(layer_norm)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    for key, value in (fields(name, model) | dict(more or {})).items():
        kinds = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
        add = kinds.get(type(value), writer.add_array if isinstance(value, list) else writer.add_float32)
        add(f"{architecture}.{key}", value)
    if tokenizer is not None:
        _write_vocabulary(writer, tokenizer)
    if "longrope" in name:
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], np.float32))
    architectures = {text: kind for kind, text in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[architecture], config.num_hidden_layers)
    for stored, tensor in converted(model.state_dict()):
        if stored == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = (tensor.squeeze(1) if ".conv.conv." in stored else tensor).numpy()
        if architecture in PERMUTED and (".q_proj." in stored or ".k_proj." in stored):
            values = permuted(values, config.num_attention_heads if "q_proj" in stored else config.num_key_value_heads)
        if architecture in HOLD_ONE and stored.endswith("norm.weight"):
            values = values + np.float32(1)
        module, _, kind = stored.rpartition(".")
        is_weight = kind in ("weight", "bias")
        target = names.get_name(stored, try_suffixes=(".weight", ".bias"))
        if target is not None and not is_weight:
            target = f"{target}.weight"
        assert target is not None, stored
        writer.add_tensor(target, np.ascontiguousarray(values))
    for tensor, target in zip(dense, ("dense_2", "dense_3"), strict=False):
        writer.add_tensor(f"{target}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_embedder(
    path: Path,
    made: TinyEmbedder,
    more: Mapping[str, Any],
    *,
    with_dense: bool = True,
    tokenizer: Tokenizer | None = None,
) -> None:
    """As convert_hf_to_gguf.py writes it, with --sentence-transformers-dense-modules."""
    stated: dict[str, Any] = {"pooling_type": {"mean": 1, "last": 3}[made.kind]}
    dense = made.dense if with_dense else []
    for weight, name in zip(dense, ("dense_2", "dense_3"), strict=False):
        stated |= {f"{name}_feat_in": weight.shape[1], f"{name}_feat_out": weight.shape[0]}
    window = made.model.config.to_dict().get("sliding_window")  # transformers computes with another number
    if window is not None:
        stated["attention.sliding_window"] = window
    write_gguf(path, "", made.model, embeds=True, more=stated | dict(more), dense=dense, tokenizer=tokenizer)
