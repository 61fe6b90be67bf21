"""StarCoder2: LayerNorm and linears with biases, an MLP without gate."""

from __future__ import annotations

from qairt.model.families.family import Family, Gguf, Values

_VALUES: Values = {"norms": {"kind": "layer", "bias": True}, "gated_mlp": False}
FAMILY = Family(
    name="starcoder2",
    architecture="Starcoder2ForCausalLM",
    title="StarCoder2",
    models="StarCoder2 3B, 7B, 15B",
    features=("LayerNorm with bias", "plain GELU MLP", "biases", "windowed attention"),
    source="Starcoder2Config and modeling_starcoder2.py of transformers 5",
    defaults={
        "hidden_act": "gelu_pytorch_tanh",
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "norm_epsilon": 1e-5,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "sliding_window": None,
        "use_bias": True,
        "tie_word_embeddings": True,
    },
    read=lambda keys: {
        **_VALUES,
        "sliding_window": keys.optional_number("sliding_window"),
        **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), keys.flag("use_bias")),
    },
    renamed={"mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"},
    optional={"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    gguf=Gguf("starcoder2", read=lambda fields: {**_VALUES, "activation": "gelu_tanh"}),
    tiny={"": {}, "windows": {"sliding_window": 8, "use_bias": False}},
)
