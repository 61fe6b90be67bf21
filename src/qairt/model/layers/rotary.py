"""Rotary position embedding of queries and keys."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.ops import BlockOps

T = TypeVar("T")


def rotate(ops: BlockOps[T], x: T, cos: T, sin: T, *, rotated: int, dim: int, out: str) -> T:
    """Rotate the first `rotated` of `dim` values on the last axis, by halves: [x1 cos - x2 sin, x2 cos + x1 sin].

    Models that rotate neighbours are rotated by halves too: their weights are reordered when they are read.

    cos and sin are the first operands: the HTP compiler (QNN 2.51) fuses an RMSNorm with a product whose second operand
    broadcasts over heads, and that fusion computes garbage for several rows.
    """
    half = rotated // 2
    x1 = ops.slice(x, 0, half, axis=-1, out=out + ".first")
    x2 = ops.slice(x, half, rotated, axis=-1, out=out + ".second")
    rest = [ops.slice(x, rotated, dim, axis=-1, out=out + ".rest")] if rotated < dim else []
    first = ops.sub(
        ops.mul(cos, x1, out=out + ".first_cos"), ops.mul(sin, x2, out=out + ".second_sin"), out=out + ".rotated_first"
    )
    second = ops.add(
        ops.mul(cos, x2, out=out + ".second_cos"), ops.mul(sin, x1, out=out + ".first_sin"), out=out + ".rotated_second"
    )
    return ops.concat((first, second, *rest), axis=-1, out=out + ".rotated")
