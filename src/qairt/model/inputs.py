"""The inputs of a decoder's graph that say where its tokens are: masks, and cosines and sines of rotary angles.

A decoder has one of each, except where its layers differ: layers with windowed attention beside others have a mask of
their own, and a rotary embedding of their own if the model has one for them.

An embedding model (`DecoderConfig.pooling`) reads a text in one call. Its graph takes one mask, whose last row says
which tokens are padding, on either side; with attention in both directions that row is all its layers need, and windows
add a band that does not depend on the text.
"""

from __future__ import annotations

from dataclasses import dataclass

from qairt.model.config import DecoderConfig

MASK = "attention_mask"
COS, SIN = "position_ids_cos", "position_ids_sin"
LOCAL = "_local"
"""The end of the names of windowed layers' own inputs."""
BAND = "attention_mask_band"
"""What a window of attention in both directions hides, [1, 1, AR, AR]."""
KEY_MASK = "attention_mask_keys"
"""What is padding, [1, 1, 1, AR]; not an input, but the last row of `MASK`."""
CONV = "conv_places"
"""Which rows hold what short convolutions read, [1, AR, length]: column 0 is 1 at new tokens and 0 at padding, column k
is 1 at the k-th new token alone."""
CONV_NEW, CONV_FIRST = "conv_places_new", "conv_places_{}"
"""Columns of `CONV`, [1, AR, 1]: the first, and the others counted from 0; no inputs of their own."""
INPUT_IDS = "input_ids"
COMPUTED = (INPUT_IDS, CONV, MASK, BAND, COS, SIN, MASK + LOCAL, COS + LOCAL, SIN + LOCAL)
"""Inputs that follow from the token ids and the number of tokens in the cache."""


@dataclass(frozen=True)
class LayerInputs:
    """The names of the inputs that a layer reads besides its hidden state and its cache."""

    mask: str
    """Additive, [1, 1, AR, CL]; of a windowed layer [1, 1, AR, min(CL - AR, window) + AR]."""
    rotary: tuple[str, str] | None
    """Cosine and sine, [1, 1, AR, rotated / 2]; None without rotary embedding."""


def layer_inputs(config: DecoderConfig, layer: int) -> LayerInputs:
    windowed = config.window_of(layer) is not None
    if config.bidirectional:
        mask = MASK + LOCAL if windowed else KEY_MASK
    else:
        mask = MASK + LOCAL if windowed and _has_both_kinds(config) else MASK
    if layer in config.unrotated_layers:
        return LayerInputs(mask, None)
    own = LOCAL if windowed and config.local_rotary is not None else ""
    return LayerInputs(mask, (COS + own, SIN + own))


def masks(config: DecoderConfig) -> dict[str, int | None]:
    """Mask that is an input -> the window of the layers that read it; None for the whole context."""
    if config.pooling is None:
        return layer_masks(config)
    windows = set(layer_masks(config).values()) - {None}
    return {MASK: None, **dict.fromkeys([BAND] if windows else [], config.sliding_window)}


def layer_masks(config: DecoderConfig) -> dict[str, int | None]:
    """Mask -> the window of the layers that read it; None for the whole context."""
    return {layer_inputs(config, layer).mask: config.window_of(layer) for layer in range(config.num_layers)}


def rotaries(config: DecoderConfig) -> dict[tuple[str, str], bool]:
    """Cosine and sine -> whether they are those of `DecoderConfig.local_rotary`."""
    found = (layer_inputs(config, layer).rotary for layer in range(config.num_layers))
    return {names: names[0].endswith(LOCAL) for names in found if names is not None}


def conv_columns(config: DecoderConfig) -> tuple[str, ...]:
    """The columns of `CONV`."""
    assert config.convolution is not None
    return CONV_NEW, *map(CONV_FIRST.format, range(config.convolution.length - 1))


def is_mask(name: str) -> bool:
    return name.startswith(MASK)


def _has_both_kinds(config: DecoderConfig) -> bool:
    windowed = config.windowed_layers
    return config.sliding_window is not None and windowed is not None and 0 < len(windowed) < config.num_layers
