"""Encodings of activations and graph inputs, from measured ranges.

1. Asymmetric, 0 always on the grid; keys and values symmetric, so that the padding of an empty cache is exact.
2. Softmax and sigmoid: 0 … 1. Cosine and sine: -1 … 1, times the factor of yarn scaling.
3. The mask: floor … 0. Masked scores: from the lowest score plus the floor to the highest score.
   Beside a sink: the range of both.
4. The embedding's output has the table's range, whichever tokens the text held: with 16 bits every value of the 8-bit
   table is then exact (65535 = 255 * 257).
5. Inputs of LoRA branches: given, as no text determines them.
6. A vector of length 1: -1 … 1.
7. All others: as measured (`qairt.quant.measure.ranges`).

Source: QAIRT's quantizer rules for LLMs (W4A16, KV 8-bit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qairt.model.config import DecoderConfig
from qairt.model.names import POOLED, hidden_name
from qairt.model.rope import inverse_frequencies
from qairt.quant.encodings import Encoding, range_encoding
from qairt.quant.measure.ranges import Ranges
from qairt.quant.structure import Structure


@dataclass(frozen=True)
class ActivationSettings:
    """How activations are quantized; the settings of the stage."""

    act_bitwidth: int = 16
    """8 or 16."""
    kv_bitwidth: int = 8
    """8 or 16, keys and values; `module_precisions.kv_cache` overrides it."""
    mask_floor: float | None = None
    """What the mask adds to masked scores; chosen when None, see `qairt.quant.measure.mask`."""


def activation_encodings(
    config: DecoderConfig,
    structure: Structure,
    ranges: Ranges,
    embedding: Encoding,
    *,
    mask_floor: float,
    act_bitwidth: int,
    kv_bitwidth: int,
    branches: Mapping[str, Encoding],
) -> dict[str, Encoding]:
    """One encoding for every tensor of `structure`, in its order.

    Args:
        ranges: measured on the calibration text.
        embedding: the encoding of the embedding's table, per tensor.
        branches: the encodings of the LoRA branches' inputs.
    """
    rotary = max(inverse_frequencies(config, config.max_position_embeddings)[1], 1.0)
    fixed = dict.fromkeys(structure.masks, (mask_floor, 0.0)) | dict.fromkeys(structure.rotaries, (-rotary, rotary))
    fixed |= dict.fromkeys(structure.unit, (0.0, 1.0))
    if config.pooling is not None and config.pooling.normalize:
        fixed[POOLED] = (-1.0, 1.0)
    fixed[hidden_name(0)] = float(embedding.minimum[0]), float(embedding.maximum[0])
    for masked, scores in structure.masked.items():
        low, high = ranges.of(scores, act_bitwidth)
        fixed[masked] = (low + mask_floor, high)
    for joined, (masked, sink) in structure.joined.items():
        (low, high), (lowest, highest) = fixed[masked], ranges.of(sink, act_bitwidth)
        fixed[joined] = min(low, lowest), max(high, highest)
    shared: dict[str, Encoding] = dict(branches)
    for name in structure.tensors:
        key = structure.tied(name)
        if key not in shared:
            cached = name in structure.cached
            bitwidth = kv_bitwidth if cached else act_bitwidth
            low, high = fixed.get(name) or ranges.of(name, bitwidth, symmetric=cached)
            shared[key] = range_encoding(low, high, bitwidth, symmetric=cached)
    return {name: shared[structure.tied(name)] for name in structure.tensors}
