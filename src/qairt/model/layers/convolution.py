"""The short convolution between two gates that takes the place of attention in some layers (LFM2).

    b, c, v = x @ B, x @ C, x @ X
    gated = b * v
    convolved[t] = taps[0] * gated[t] + … + taps[length - 1] * gated[t - length + 1]    in each channel
    result = (c * convolved) @ O

A call's first tokens read the gated values of the past. Where a call is padded on the left, these belong before its
first new token, wherever that is: the convolution runs over the new tokens alone, padding being 0, and what the past
adds to the first `length - 1` of them is put in their places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.inputs import CONV_FIRST, CONV_NEW
from qairt.model.layers.linear import linear
from qairt.model.names import conv_names
from qairt.model.ops import BlockOps

T = TypeVar("T")


def convolution(
    ops: BlockOps[T], config: DecoderConfig, layer: int, x: T, positions: Mapping[str, T], past: T
) -> tuple[T, T]:
    """
    Args:
        x: [1, AR, hidden].
        past: the gated values of the last tokens, [1, 1, length - 1, hidden]; 0 before the first.

    Returns:
        What the convolution adds to the residual stream [1, AR, hidden]; the new tokens' gated values
        [1, 1, AR, hidden].
    """
    assert config.convolution is not None
    before, hidden = config.convolution.length - 1, config.hidden_size
    w = f"model.layers.{layer}.conv."
    t = f"layers.{layer}.conv."

    b = linear(ops, False, x, w + "b_proj", out=t + "b")
    c = linear(ops, False, x, w + "c_proj", out=t + "c")
    v = linear(ops, False, x, w + "x_proj", out=t + "v")
    gated = ops.mul(ops.mul(b, v, out=t + "gated"), positions[CONV_NEW], out=t + "new")
    present = ops.reshape(gated, (1, 1, -1, hidden), out=conv_names(layer)[1])
    new = ops.reshape(present, (1, -1, hidden), out=t + "new.tokens")
    earlier = ops.reshape(past, (1, -1, hidden), out=t + "past.tokens")

    convolved = _taps(ops, ops.pad(new, before, 0, out=t + "new.padded"), before, w, t + "new.")
    carried = _taps(ops, ops.pad(earlier, 0, before, out=t + "past.padded"), before, w, t + "past.")
    for place in range(before):
        of_token = ops.slice(carried, place, place + 1, axis=1, out=f"{t}past_{place}")
        placed = ops.mul(positions[CONV_FIRST.format(place)], of_token, out=f"{t}past_{place}.placed")
        convolved = ops.add(convolved, placed, out=f"{t}convolved_{place}")
    return linear(ops, False, ops.mul(c, convolved, out=t + "mixed"), w + "out_proj", out=t + "out"), present


def _taps(ops: BlockOps[T], x: T, before: int, w: str, t: str) -> T:
    """x [1, before + tokens, hidden] -> each of the tokens, and those before it by distance, times their taps."""
    total: T | None = None
    for distance in range(before + 1):
        name = f"{t}shifted_{distance}"
        if distance == 0:
            shifted = ops.tail(x, before, axis=1, out=name)
        else:
            shifted = ops.slice(x, before - distance, -distance, axis=1, out=name)
        tap = ops.scale(shifted, f"{w}tap_{distance}.weight", out=f"{t}tap_{distance}")
        total = tap if total is None else ops.add(total, tap, out=f"{t}taps_{distance}")
    assert total is not None
    return total
