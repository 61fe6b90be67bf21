"""Hugging Face's weight names, and llama.cpp's for the same tensors in a GGUF file."""

from __future__ import annotations

_WHOLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
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
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_WHOLE_BACK = {ours: theirs for theirs, ours in _WHOLE.items()}
_LAYER_BACK = {ours: theirs for theirs, ours in _LAYER.items()}


def gguf_name(name: str) -> str | None:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`; None if GGUF has no such tensor."""
    module, _, kind = name.rpartition(".")
    if module in _WHOLE:
        return f"{_WHOLE[module]}.{kind}"
    parts = module.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in _LAYER:
        return f"blk.{parts[2]}.{_LAYER[parts[3]]}.{kind}"
    return None


def hugging_face_name(name: str) -> str | None:
    """The inverse; None for tensors that are not weights of the decoder (`rope_freqs.weight`)."""
    module, _, kind = name.rpartition(".")
    if module in _WHOLE_BACK:
        return f"{_WHOLE_BACK[module]}.{kind}"
    parts = module.split(".", 2)
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in _LAYER_BACK:
        return f"model.layers.{parts[1]}.{_LAYER_BACK[parts[2]]}.{kind}"
    return None
