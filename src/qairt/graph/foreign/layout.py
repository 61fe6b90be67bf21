"""Which head, token and channel each element of a tensor belongs to, through operations that only move data."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.graph.shapes import constant, static

Places = NDArray[np.int64]
"""For each element of a tensor, the place it had in the tensor that the following began at."""

MOVES = frozenset(("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Expand"))


def start(shape: tuple[int, ...]) -> Places:
    """Every element at its own place."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def moved(places: Places, node: ir.Node) -> Places:
    """The places after one operation of `MOVES`."""
    if node.op_type == "Transpose":
        order = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(places.ndim)[::-1]
        return places.transpose(tuple(order))
    if node.op_type == "Expand":
        return places * np.ones(constant(node.inputs[1]), np.int64)
    return places.reshape(static(node.outputs[0]))


def heads_of(places: Places, tokens: int, dim: int) -> NDArray[Any] | None:
    """The head of each leading index of [.., tokens, dim], if these are places of [tokens, heads, dim]; else None."""
    if places.ndim < 2 or places.shape[-2:] != (tokens, dim):
        return None
    width = places.max(initial=0) // tokens + 1
    heads = places[..., 0, 0] // dim
    token, channel = np.arange(tokens)[:, None] * width, np.arange(dim)
    return heads if np.array_equal(places, (heads * dim)[..., None, None] + token + channel) else None
