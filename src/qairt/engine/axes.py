"""Coordinates: the position of an item in the fan-out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

Coord = tuple[tuple[str, int], ...]
"""`(axis, value)` pairs in the order in which the axes were opened; `()` is the whole model."""


@lru_cache(maxsize=1 << 14)
def label(coord: Coord) -> str:
    """`(("ar", 128), ("split", 2))` -> `ar128-split2`; the whole model is `all`."""
    return "-".join(f"{axis}{value}" for axis, value in coord) or "all"


def without(coord: Coord, axes: Iterable[str]) -> Coord:
    """The coordinate with `axes` closed."""
    closed = set(axes)
    return tuple(pair for pair in coord if pair[0] not in closed)


def value_of(coord: Coord, axis: str, default: int | None = None) -> int:
    """The value at `axis`.

    Raises:
        KeyError: the axis is not open here and no default was given.
    """
    for name, value in coord:
        if name == axis:
            return value
    if default is None:
        raise KeyError(f"axis {axis!r} is not open at {label(coord)}")
    return default
