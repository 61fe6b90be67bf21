"""What a decoder must compute and read for its tokens, from its shape alone: the numerators of MFU and MBU."""

from __future__ import annotations

from math import prod

from qairt.model.config import DecoderConfig
from qairt.model.layout import layer_weight_shapes

_FLOAT = 4


def matrix_flops(config: DecoderConfig, tokens: int, past: int = 0) -> int:
    """Of all matrix products for `tokens` more tokens after `past`; a multiplication and an addition are two.

    Scores are computed for every pair and masked then, so all pairs count. Logits are of the last token only.
    """
    linears = sum(prod(shape) for shape in layer_weight_shapes(config, 0).values() if len(shape) == 2)
    attention = 2 * config.num_heads * config.head_dim * (past + tokens)
    layer = 2 * tokens * (linears + attention)
    return config.num_layers * layer + 2 * config.hidden_size * config.vocab_size


def bytes_read(config: DecoderConfig, tokens: int, past: int = 0) -> int:
    """That `tokens` more tokens need from memory at least, taken in one go: each float32 weight once (of the embedding
    their rows), and the keys and values of all tokens."""
    layer = sum(prod(shape) for shape in layer_weight_shapes(config, 0).values())
    head = config.hidden_size * (config.vocab_size + 1)
    cache = 2 * config.num_kv_heads * config.head_dim * (past + tokens)
    values = config.num_layers * (layer + cache) + head + tokens * config.hidden_size
    return _FLOAT * values


def weight_bytes(config: DecoderConfig) -> int:
    """All weights as the float model holds them: the embedding, and lm_head by itself."""
    layer = sum(prod(shape) for shape in layer_weight_shapes(config, 0).values())
    return _FLOAT * (config.num_layers * layer + 2 * config.vocab_size * config.hidden_size + config.hidden_size)


def decode_flops(config: DecoderConfig, prompt: int, steps: int) -> int:
    """Of `steps` tokens, one after the other, after a prompt of so many."""
    return sum(matrix_flops(config, 1, prompt + step) for step in range(steps))


def decode_bytes(config: DecoderConfig, prompt: int, steps: int) -> int:
    """The same for what is read from memory."""
    return sum(bytes_read(config, 1, prompt + step) for step in range(steps))
