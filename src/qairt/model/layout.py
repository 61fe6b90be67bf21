"""Which weights a decoder of a given configuration has, and their shapes as Hugging Face stores them."""

from __future__ import annotations

from qairt.model.config import DecoderConfig, Family

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
LM_HEAD = "lm_head.weight"


def weight_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight in the decoder's order; linears are [out, in].

    A tied model has no `lm_head.weight`: it is the embedding.
    """
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, config.hidden_size)}
    for layer in range(config.num_layers):
        shapes |= layer_weight_shapes(config, layer)
    shapes[FINAL_NORM] = (config.hidden_size,)
    if not config.tie_word_embeddings:
        shapes[LM_HEAD] = (config.vocab_size, config.hidden_size)
    return shapes


def layer_weight_shapes(config: DecoderConfig, layer: int) -> dict[str, tuple[int, ...]]:
    """The same for one decoder layer."""
    hidden, mlp, dim = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_heads * dim, config.num_kv_heads * dim
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    shapes["input_layernorm.weight"] = (hidden,)
    linear("self_attn.q_proj", queries, hidden, config.qkv_bias)
    linear("self_attn.k_proj", keys, hidden, config.qkv_bias)
    linear("self_attn.v_proj", keys, hidden, config.qkv_bias)
    if config.qk_norm:
        shapes["self_attn.q_norm.weight"] = (dim,)
        shapes["self_attn.k_norm.weight"] = (dim,)
    linear("self_attn.o_proj", hidden, queries, config.output_bias)
    shapes["post_attention_layernorm.weight"] = (hidden,)
    linear("mlp.gate_proj", mlp, hidden, config.mlp_bias)
    linear("mlp.up_proj", mlp, hidden, config.mlp_bias)
    linear("mlp.down_proj", hidden, mlp, config.mlp_bias)
    return {f"model.layers.{layer}.{name}": shape for name, shape in shapes.items()}


_OPTIONAL: dict[Family, dict[str, bool]] = {
    "llama": {"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    "qwen3": {"qkv_bias": True, "output_bias": True},
}
"""What a configuration can switch on."""


def family_has(config: DecoderConfig, name: str) -> bool:
    """Whether a decoder of this family, with another configuration, would have a weight of this name."""
    parts = name.split(".", 3)
    if parts[:2] != ["model", "layers"] or len(parts) < 4 or not parts[2].isdecimal():
        return False
    largest = config.model_copy(update=_OPTIONAL.get(config.family, {}))
    return name in layer_weight_shapes(largest, int(parts[2]))
