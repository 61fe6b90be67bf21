"""The inputs of a decoder's graph that say where its tokens are: masks, and cosines and sines of rotary angles.

A decoder has one of each, except where its layers differ: layers with windowed attention beside others have a mask of
their own, and a rotary embedding of their own if the model has one for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from qairt.model.config import DecoderConfig

MASK = "attention_mask"
COS, SIN = "position_ids_cos", "position_ids_sin"
LOCAL = "_local"
"""The end of the names of windowed layers' own inputs."""
INPUT_IDS = "input_ids"
COMPUTED = (INPUT_IDS, MASK, COS, SIN, MASK + LOCAL, COS + LOCAL, SIN + LOCAL)
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
    mask = MASK + LOCAL if windowed and _has_both_kinds(config) else MASK
    if layer in config.unrotated_layers:
        return LayerInputs(mask, None)
    own = LOCAL if windowed and config.local_rotary is not None else ""
    return LayerInputs(mask, (COS + own, SIN + own))


def masks(config: DecoderConfig) -> dict[str, int | None]:
    """Mask -> the window of the layers that read it; None for the whole context."""
    return {layer_inputs(config, layer).mask: config.window_of(layer) for layer in range(config.num_layers)}


def rotaries(config: DecoderConfig) -> dict[tuple[str, str], bool]:
    """Cosine and sine -> whether they are those of `DecoderConfig.local_rotary`."""
    found = (layer_inputs(config, layer).rotary for layer in range(config.num_layers))
    return {names: names[0].endswith(LOCAL) for names in found if names is not None}


def is_mask(name: str) -> bool:
    return name.startswith(MASK)


def _has_both_kinds(config: DecoderConfig) -> bool:
    windowed = config.windowed_layers
    return config.sliding_window is not None and windowed is not None and 0 < len(windowed) < config.num_layers
