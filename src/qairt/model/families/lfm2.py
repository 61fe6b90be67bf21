"""LFM2: most layers have a short convolution between two gates in place of attention."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Fields, Gguf, Values


def _read(keys: ConfigValues) -> Values:
    if keys.flag("conv_bias"):
        raise keys.not_supported("short convolutions with biases are not supported")
    indices = keys.value("full_attn_idxs")
    attention = indices if isinstance(indices, list) else [*keys.layers()]
    layers = keys.layers_of_type("conv", lambda layer: layer not in attention)
    return {**_values(list(layers), keys.integer("conv_L_cache")), "intermediate_size": _width(keys)}


def _values(layers: list[int], length: int) -> Values:
    convolution = {"layers": layers, "length": length} if layers else None
    return {"qk_norm": True, "convolution": convolution}


def _width(keys: ConfigValues) -> int:
    """Of the MLP; most published configurations state what it is computed from."""
    stated = keys.integer("intermediate_size")
    if not keys.flag("block_auto_adjust_ff_dim"):
        return stated
    width, multiplier = int(2 * stated / 3), keys.optional_number("block_ffn_dim_multiplier")
    if multiplier is None:
        return width
    multiple = keys.integer("block_multiple_of")
    return -(-int(multiplier * width) // multiple) * multiple


def _gguf(fields: Fields) -> Values:
    heads = fields.by_layer("attention.head_count_kv")
    return _values([layer for layer, count in enumerate(heads) if not count], fields.integer("shortconv.l_cache"))


FAMILY = Family(
    name="lfm2",
    architecture="Lfm2ForCausalLM",
    title="LFM2",
    models="LFM2 350M, 700M, 1.2B, 2.6B",
    features=("short convolutions", "q/k norm"),
    source="Lfm2Config and modeling_lfm2.py of transformers 5; LFM2Model of llama.cpp's converter",
    defaults={
        "vocab_size": 65536,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 128000,
        "norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_multiple_of": 256,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": True,
        "full_attn_idxs": None,
        "layer_types": None,
    },
    read=_read,
    rope_theta=1_000_000.0,
    renamed={
        "operator_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "self_attn.out_proj": "self_attn.o_proj",
        "self_attn.q_layernorm": "self_attn.q_norm",
        "self_attn.k_layernorm": "self_attn.k_norm",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
    },
    unread=(
        *("block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale", "block_use_swiglu"),
        *("block_use_xavier_init", "conv_dim", "conv_dim_out", "conv_use_xavier_init", "num_heads", "theta"),
        "use_pos_enc",
    ),
    aliases={"block_ff_dim": "intermediate_size", "tie_embedding": "tie_word_embeddings"},
    gguf=Gguf(
        "lfm2",
        names={
            "model.norm": "token_embd_norm",
            "conv.in_proj": "shortconv.in_proj",
            "conv.conv": "shortconv.conv",
            "conv.out_proj": "shortconv.out_proj",
        },
        read=_gguf,
    ),
    tiny={
        "": {
            "num_hidden_layers": 4,
            "layer_types": ["conv", "full_attention", "conv", "conv"],
            "block_auto_adjust_ff_dim": False,
        },
        "long": {
            "num_hidden_layers": 3,
            "full_attn_idxs": [1],
            "conv_L_cache": 4,
            "block_multiple_of": 32,
            "tie_word_embeddings": False,
        },
    },
)
