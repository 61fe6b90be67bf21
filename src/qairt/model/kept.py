"""What layers keep from one call to the next: keys and values, and what short convolutions read of past tokens.

layer               names                shape
attention           past_key_{i}_in      [KV, 1, D, past]
                    past_value_{i}_in    [KV, 1, past, D]
short convolution   past_conv_{i}_in     [1, 1, length - 1, hidden]
"""

from __future__ import annotations

from qairt.model.config import DecoderConfig
from qairt.model.masks import slots_before
from qairt.model.names import conv_names, is_key_or_value, past_names, present_names, token_axis


def kept_names(config: DecoderConfig, layer: int) -> tuple[tuple[str, str], ...]:
    """Each tensor as input and as output; none of an embedding model."""
    if config.pooling is not None:
        return ()
    if config.is_convolution(layer):
        return (conv_names(layer),)
    return tuple(zip(past_names(layer), present_names(layer), strict=True))


def fixed_slots(config: DecoderConfig, layer: int) -> int | None:
    """Tokens that a short convolution keeps, whatever the call; None for attention."""
    return config.convolution.length - 1 if config.convolution is not None and config.is_convolution(layer) else None


def kept_slots(config: DecoderConfig, layer: int, ar: int, cl: int) -> int:
    """Tokens that a layer's inputs hold before a call of `ar` tokens."""
    fixed = fixed_slots(config, layer)
    return slots_before(ar, cl, config.window_of(layer)) if fixed is None else fixed


def kept_shape(config: DecoderConfig, name: str, tokens: int) -> tuple[int, ...]:
    """The shape of such a tensor of so many tokens."""
    if not is_key_or_value(name):
        return 1, 1, tokens, config.hidden_size
    kv, dim = config.num_kv_heads, config.head_dim
    return (kv, 1, dim, tokens) if token_axis(name) == 3 else (kv, 1, tokens, dim)
