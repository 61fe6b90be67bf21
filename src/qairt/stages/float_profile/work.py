"""FLOPs and bytes that a decoder needs per token, from its shape alone: the numerators of MFU and MBU."""

from __future__ import annotations

from math import prod

from qairt.model.config import DecoderConfig
from qairt.model.layout import layer_weight_shapes

_FLOAT32 = 4
"""Bytes."""


def matrix_flops(config: DecoderConfig, tokens: int, past: int = 0) -> int:
    """FLOPs of all matrix products for `tokens` tokens after `past` others; a multiply-add is 2.

    Scores are computed for every pair of tokens and then masked, so all pairs count. Logits: last token only.
    """
    layers = range(config.num_layers)
    linears = sum(prod(shape) for at in layers for shape in layer_weight_shapes(config, at).values() if len(shape) == 2)
    linears += config.num_layers * _of_an_expert(config) * (config.experts.chosen if config.experts is not None else 0)
    attention = 2 * config.num_heads * config.head_dim * (past + tokens)
    products = linears + _with_attention(config) * attention
    return 2 * tokens * products + 2 * config.hidden_size * config.vocab_size


def bytes_read(config: DecoderConfig, tokens: int, past: int = 0) -> int:
    """Minimum bytes read from memory to process `tokens` tokens in one call.

    Each float32 weight once (of the embedding only the rows used, of experts only as many as a token is given to), and
    the keys and values of all tokens.
    """
    layers = _layer_weights(config)
    if config.experts is not None:
        layers -= config.num_layers * _of_an_expert(config) * (config.experts.count - config.experts.chosen)
    head = config.hidden_size * (config.vocab_size + 1)
    cache = 2 * config.num_kv_heads * config.head_dim * (past + tokens)
    values = layers + _with_attention(config) * cache + head + tokens * config.hidden_size
    return _FLOAT32 * values


def _layer_weights(config: DecoderConfig) -> int:
    return sum(prod(shape) for at in range(config.num_layers) for shape in layer_weight_shapes(config, at).values())


def _with_attention(config: DecoderConfig) -> int:
    """Layers with attention."""
    return sum(not config.is_convolution(layer) for layer in range(config.num_layers))


def _of_an_expert(config: DecoderConfig) -> int:
    """Weights of the linears of one expert."""
    return 3 * config.hidden_size * config.experts.width if config.experts is not None else 0


def weight_bytes(config: DecoderConfig) -> int:
    """Bytes of all float32 weights; a tied lm_head counts separately from the embedding."""
    return _FLOAT32 * (_layer_weights(config) + 2 * config.vocab_size * config.hidden_size + config.hidden_size)


def decode_flops(config: DecoderConfig, prompt: int, steps: int) -> int:
    """FLOPs of `steps` decode steps after a prompt of `prompt` tokens."""
    return sum(matrix_flops(config, 1, prompt + step) for step in range(steps))


def decode_bytes(config: DecoderConfig, prompt: int, steps: int) -> int:
    """Minimum bytes read by `steps` decode steps after a prompt of `prompt` tokens."""
    return sum(bytes_read(config, 1, prompt + step) for step in range(steps))
