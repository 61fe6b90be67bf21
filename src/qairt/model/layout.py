"""Which weights a decoder of a given configuration has, and their shapes as Hugging Face stores them."""

from __future__ import annotations

from qairt.model.config import DecoderConfig, Experts
from qairt.model.names import CAP

RAISED_BY = 30.0
"""Added to the router's logits of chosen experts, so that the softmax is over these: no other is above the lowest of
them, and gets at most exp(-30) of its weight."""

ROUTING = (".mlp.router", ".mlp.expert_bias")
"""How the names of a mixture of experts' linears end that are not of its experts."""

CONV_PROJECTIONS = ("b_proj", "c_proj", "x_proj")
"""Of a short convolution, in the order in which checkpoints store them joined."""

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
LM_HEAD = "lm_head.weight"
DENSE = "pooling.dense.{}"
"""A linear behind the pooling of an embedding model, counted from 0."""
ONE = "pooling.one"
UNIT = "pooling.unit"
"""What makes a vector of mean square 1 one of length 1."""


def weight_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight in the decoder's order; linears are [out, in], those of
    experts [experts, out, in].

    A tied model has no `lm_head.weight`: it is the embedding.
    """
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, config.hidden_size)}
    for layer in range(config.num_layers):
        shapes |= layer_weight_shapes(config, layer)
    shapes |= dict.fromkeys(_norm_weights(config, "model.norm"), (config.hidden_size,))
    shapes |= _pooling_shapes(config)
    if has_lm_head(config) and not config.tie_word_embeddings:
        shapes[LM_HEAD] = (config.vocab_size, config.hidden_size)
    return shapes


def layer_weight_shapes(config: DecoderConfig, layer: int) -> dict[str, tuple[int, ...]]:
    """The same for one decoder layer."""
    mixer = _convolution_shapes(config) if config.is_convolution(layer) else _attention_shapes(config)
    shapes = mixer | mlp_weight_shapes(config)
    return {f"model.layers.{layer}.{name}": shape for name, shape in shapes.items()}


def graph_shape(config: DecoderConfig, name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a parameter in the graph, by that of the stored weight: linears are [in, out], those of all experts
    one wide linear (see `stacked_axis`), sinks [KV, G, 1, 1]."""
    if name == EMBEDDING:
        return stored
    if name.endswith(".sinks"):
        return config.num_kv_heads, stored[0] // config.num_kv_heads, 1, 1
    if len(stored) != 3:
        return stored[::-1]
    count, outputs, inputs = stored
    return (count * inputs, outputs) if stacked_axis(name) == 0 else (inputs, count * outputs)


def stacked_axis(name: str) -> int:
    """The axis of [in, out] along which the experts of a wide linear lie."""
    return 0 if ".down_proj." in name else 1


def layer_constants(config: DecoderConfig, layer: int) -> dict[str, float]:
    """Parameters of a layer's graph that are in no file: name -> value, of shape [1]."""
    found = {} if config.score_cap is None else {f"self_attn.{CAP}": config.score_cap}
    if config.experts is not None:
        found |= {"mlp.router.chosen": RAISED_BY if config.experts.weights_add_up else 1.0, "mlp.router.others": 0.0}
        if config.experts.clamped is not None:
            limit, slope = config.experts.clamped.limit, config.experts.clamped.slope
            found |= {"mlp.gate_limit": limit, "mlp.up_limit": 1 + limit, "mlp.up_floor": 1 - limit}
            found["mlp.gate_slope"] = slope
    return {f"model.layers.{layer}.{name}": value for name, value in found.items()}


def has_lm_head(config: DecoderConfig) -> bool:
    """An embedding model has none."""
    return config.pooling is None


def head_constants(config: DecoderConfig) -> dict[str, float]:
    """The same for the head; `UNIT` has the shape [values]."""
    if config.pooling is not None:
        ends = {ONE: 1.0} if config.pooling.kind == "last" else {}
        return ends | ({UNIT: config.embedding_size**-0.5} if config.pooling.normalize else {})
    return {} if config.logits_cap is None else {f"lm_head.{CAP}": config.logits_cap}


def head_names(config: DecoderConfig) -> list[str]:
    """The head's parameters but for `lm_head.weight`."""
    return [*_norm_weights(config, "model.norm"), *_pooling_shapes(config), *head_constants(config)]


def _pooling_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    width = config.hidden_size
    for index, dense in enumerate(config.pooling.dense if config.pooling is not None else ()):
        shapes |= _linear(DENSE.format(index), dense.outputs, width, dense.bias)
        width = dense.outputs
    return shapes


def _attention_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    hidden, dim = config.hidden_size, config.head_dim
    queries, keys = config.num_heads * dim, config.num_kv_heads * dim
    shapes = _norm_shapes(config, config.norms.before_attention)
    shapes |= _linear("self_attn.q_proj", queries, hidden, config.qkv_bias)
    shapes |= _linear("self_attn.k_proj", keys, hidden, config.qkv_bias)
    shapes |= _linear("self_attn.v_proj", keys, hidden, config.qkv_bias)
    if config.qk_norm:
        whole = config.qk_norm_place == "whole"
        shapes["self_attn.q_norm.weight"] = (queries if whole else dim,)
        shapes["self_attn.k_norm.weight"] = (keys if whole else dim,)
    if config.sinks:
        shapes["self_attn.sinks"] = (config.num_heads,)
    shapes |= _linear("self_attn.o_proj", hidden, queries, config.output_bias)
    return shapes | _norm_shapes(config, config.norms.after_attention)


def _convolution_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    assert config.convolution is not None
    hidden = config.hidden_size
    shapes = _norm_shapes(config, config.norms.before_attention)
    for name in CONV_PROJECTIONS:
        shapes |= _linear(f"conv.{name}", hidden, hidden, bias=False)
    shapes |= {f"conv.tap_{distance}.weight": (hidden,) for distance in range(config.convolution.length)}
    return shapes | _linear("conv.out_proj", hidden, hidden, bias=False)


def mlp_weight_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Of the second half of every layer, the MLP or the experts with their norms; without the layer's prefix."""
    hidden, width = config.hidden_size, config.intermediate_size
    shapes = _norm_shapes(config, config.norms.before_mlp)
    if config.experts is not None:
        return shapes | _expert_shapes(config.experts, hidden) | _norm_shapes(config, config.norms.after_mlp)
    for name in ("gate_proj", "up_proj") if config.gated_mlp else ("up_proj",):
        shapes |= _linear(f"mlp.{name}", width, hidden, config.mlp_bias)
    shapes |= _linear("mlp.down_proj", hidden, width, config.mlp_bias)
    return shapes | _norm_shapes(config, config.norms.after_mlp)


def _expert_shapes(experts: Experts, hidden: int) -> dict[str, tuple[int, ...]]:
    count, width = experts.count, experts.width
    shapes = _linear("mlp.router", count, hidden, experts.bias)
    for name in ("gate_proj", "up_proj"):
        shapes[f"mlp.experts.{name}.weight"] = (count, width, hidden)
        if experts.bias:
            shapes[f"mlp.experts.{name}.bias"] = (count * width,)
    shapes["mlp.experts.down_proj.weight"] = (count, hidden, width)
    if experts.bias:  # weighted as the experts are, so it is a linear of their weights
        shapes["mlp.expert_bias.weight"] = (hidden, count)
    return shapes


def _linear(name: str, outputs: int, inputs: int, bias: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (outputs, inputs)}
    return shapes | {f"{name}.bias": (outputs,)} if bias else shapes


def _norm_shapes(config: DecoderConfig, name: str | None) -> dict[str, tuple[int, ...]]:
    return {} if name is None else dict.fromkeys(_norm_weights(config, name), (config.hidden_size,))


def _norm_weights(config: DecoderConfig, name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"] if config.norms.bias else [f"{name}.weight"]
