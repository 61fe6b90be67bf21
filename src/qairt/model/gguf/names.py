"""Hugging Face's weight names, and llama.cpp's for the same tensors in a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping

from qairt.model.gguf.pooling import DENSES

_WHOLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    **DENSES,
}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.router": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_IN_LAYER = {"self_attn.sinks": "attn_sinks.weight", "mlp.expert_bias.weight": "ffn_down_exps.bias"}
"""Whole names in a layer, where more than the module differs."""
_NONE: Mapping[str, str] = {}


def gguf_name(name: str, own: Mapping[str, str] = _NONE) -> str | None:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`; None if GGUF has no such tensor.

    Args:
        own: the architecture's own modules of a layer, ours -> llama.cpp's.
    """
    module, _, kind = name.rpartition(".")
    if module in _WHOLE:
        return f"{own.get(module, _WHOLE[module])}.{kind}"
    layer, _, own_name = name.removeprefix("model.layers.").partition(".")
    if own_name in _IN_LAYER:
        return f"blk.{layer}.{_IN_LAYER[own_name]}"
    parts, modules = module.split(".", 3), _modules(own)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in modules:
        return f"blk.{parts[2]}.{modules[parts[3]]}.{kind}"
    return None


def hugging_face_name(name: str, own: Mapping[str, str] = _NONE) -> str | None:
    """The inverse; None for tensors that are not weights of the decoder (`rope_freqs.weight`)."""
    module, _, kind = name.rpartition(".")
    whole = {own.get(ours, theirs): ours for ours, theirs in _WHOLE.items()}
    if module in whole:
        return f"{whole[module]}.{kind}"
    layer, _, own_name = name.removeprefix("blk.").partition(".")
    in_layer = {theirs: ours for ours, theirs in _IN_LAYER.items()}
    if own_name in in_layer:
        return f"model.layers.{layer}.{in_layer[own_name]}"
    parts, modules = module.split(".", 2), {theirs: ours for ours, theirs in _modules(own).items()}
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in modules:
        return f"model.layers.{parts[1]}.{modules[parts[2]]}.{kind}"
    return None


def _modules(own: Mapping[str, str]) -> dict[str, str]:
    """Ours -> llama.cpp's, one to one."""
    taken = set(own.values())
    return {ours: theirs for ours, theirs in _LAYER.items() if ours not in own and theirs not in taken} | dict(own)
