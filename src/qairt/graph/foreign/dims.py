"""Dimensions of a graph exported with fixed sizes: numbers, some of which mean AR, CL or CL - AR.

The meaning of a number is proven by propagating the meaning of the inputs' dimensions through every operation. A
literal in the graph (a Reshape's target, a Slice's end) is rewritten only if exactly one meaning is possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


class AmbiguousError(Exception):
    """A number could mean two things, or a constant was exported for one AR. Becomes a `GraphError` with the node."""


@dataclass(frozen=True)
class Lengths:
    """AR and CL of a graph."""

    ar: int
    cl: int

    def of(self, symbol: str) -> int:
        return {"ar": self.ar, "cl": self.cl, "past": self.cl - self.ar}[symbol]


@dataclass(frozen=True)
class Dim:
    """`factor`, or `factor` times a symbol."""

    factor: int
    symbol: str | None = None

    def at(self, lengths: Lengths) -> int:
        return self.factor * (lengths.of(self.symbol) if self.symbol else 1)


Dims = tuple[Dim, ...]

ONE = Dim(1)


def fixed(sizes: Sequence[int]) -> Dims:
    return tuple(Dim(size) for size in sizes)


def broadcast(*shapes: Dims) -> Dims:
    """
    Raises:
        AmbiguousError: a number meets AR, CL or CL - AR: a constant was exported for one length.
    """
    rank = max(len(shape) for shape in shapes)
    result = []
    for axis in range(-rank, 0):
        dims = {shape[axis] for shape in shapes if len(shape) >= -axis} - {ONE}
        if len(dims) > 1:
            raise AmbiguousError(f"{_text(dims)} meet: a constant was exported for one length")
        result.append(dims.pop() if dims else ONE)
    return tuple(result)


def concat(shapes: Sequence[Dims], axis: int) -> Dims:
    """
    Raises:
        AmbiguousError: the sum of the lengths is not AR, CL or CL - AR.
    """
    along = [shape[axis] for shape in shapes]
    symbols = sorted(str(dim.symbol) for dim in along if dim.symbol)
    if not symbols:
        total = Dim(sum(dim.factor for dim in along))
    elif symbols == ["ar", "past"] and len(along) == 2 and all(dim.factor == 1 for dim in along):
        total = Dim(1, "cl")
    else:
        raise AmbiguousError(f"it concatenates {_text(along)} along axis {axis}")
    if len({shape[:axis] + shape[axis + 1 :] for shape in shapes}) != 1:
        raise AmbiguousError("the other dimensions have different meanings")
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def reshape(before: Dims, literal: Sequence[int], old: Lengths) -> Dims:
    """The meaning of a Reshape's target `literal`, found by grouping both shapes row-major.

    Raises:
        AmbiguousError: several literals of a group could hold the length.
    """
    target = [before[axis].at(old) if size == 0 else size for axis, size in enumerate(literal)]
    total = prod(dim.at(old) for dim in before)
    if -1 in target:
        target[target.index(-1)] = total // -prod(target)
    if prod(target) != total:
        raise AmbiguousError(f"{total} elements do not fit {list(literal)}")
    result: list[Dim] = []
    left, right = list(before), list(target)
    while left or right:
        some, sizes = _group(left, right, old)
        result += _resolve(some, sizes, old)
    return tuple(result)


def _group(left: list[Dim], right: list[int], old: Lengths) -> tuple[list[Dim], list[int]]:
    """Remove the shortest runs with equal numbers of elements from the front of both sides."""
    some, sizes = ([left.pop(0)] if left else []), ([right.pop(0)] if right else [])
    while (a := prod(dim.at(old) for dim in some)) != (b := prod(sizes)):
        if a < b:
            some.append(left.pop(0))
        else:
            sizes.append(right.pop(0))
    if not left:
        sizes += right
        right.clear()
    if not right:
        some += left
        left.clear()
    return some, sizes


def _resolve(some: list[Dim], sizes: list[int], old: Lengths) -> list[Dim]:
    lengths = [dim for dim in some if dim.symbol]
    if not lengths:
        return [Dim(size) for size in sizes]
    if len(lengths) > 1:
        raise AmbiguousError(f"it merges {_text(lengths)}")
    (length,) = lengths
    number = old.of(str(length.symbol))
    positions = [position for position, size in enumerate(sizes) if size % number == 0]
    if len(some) == len(sizes) and [dim.at(old) for dim in some] == sizes:
        positions = [some.index(length)]
    if len(positions) != 1:
        raise AmbiguousError(f"it is unclear which of {sizes} holds {length.symbol} = {number}")
    result = [Dim(size) for size in sizes]
    (position,) = positions
    result[position] = Dim(sizes[position] // number, length.symbol)
    return result


def cut(dim: Dim, start: int, end: int, step: int, old: Lengths, new: Lengths) -> tuple[int, int, Dim]:
    """A Slice of an axis: its bounds at the new lengths, and the dimension it keeps.

    Raises:
        AmbiguousError: the axis is a length, and the slice of it is not AR, CL or CL - AR.
    """
    if dim.symbol is None:
        return start, end, Dim(len(range(*slice(start, end, step).indices(dim.factor))))
    first, last = _position(dim, start, old), _position(dim, end, old)
    if step != 1 or (first, last) not in (_KEPT if dim == Dim(1, "cl") else {("start", "end"): ""}):
        every = f", every {step}" if step != 1 else ""
        raise AmbiguousError(f"it slices {_text([dim])} = {dim.at(old)} from {start} to {end}{every}")
    kept = _KEPT[first, last]
    return _bound(dim, start, old, new), _bound(dim, end, old, new), Dim(1, kept) if kept else dim


_KEPT = {
    ("start", "end"): "",
    ("start", "ar"): "ar",
    ("start", "past"): "past",
    ("ar", "end"): "past",
    ("past", "end"): "ar",
}
"""The part of CL = AR + past between two positions; "" is all of it."""

_OPEN = 2**31 - 1
"""Exporters write "to the end" as a bound of at least this size."""


def _position(dim: Dim, literal: int, old: Lengths) -> str:
    """The position of a Slice bound on an axis that is a length: start, end, or AR or CL - AR from the start."""
    size, other = dim.at(old), {"ar": "past", "past": "ar"}
    if literal == 0 or literal <= -_OPEN or literal == -size:
        return "start"
    if literal >= _OPEN or literal == size:
        return "end"
    lengths = [symbol for symbol in other if abs(literal) == old.of(symbol)]
    if len(lengths) != 1:
        return ""
    return other[lengths[0]] if literal < 0 else lengths[0]


def _bound(dim: Dim, literal: int, old: Lengths, new: Lengths) -> int:
    if literal == 0 or abs(literal) >= _OPEN:
        return literal
    meant = dim if abs(literal) == dim.at(old) else Dim(1, "ar" if abs(literal) == old.ar else "past")
    return -meant.at(new) if literal < 0 else meant.at(new)


def _text(dims: Sequence[Dim] | set[Dim]) -> str:
    names = [
        f"{dim.factor}·{dim.symbol}" if dim.symbol and dim.factor != 1 else str(dim.symbol or dim.factor)
        for dim in dims
    ]
    return " and ".join(sorted(names))
