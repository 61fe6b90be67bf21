"""Values as characters: areas in braille, blocks or ASCII on a fixed scale, and one-line sparklines."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.tui.terminal.glyphs import GraphStyle

Value = float | None

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " .:#"
_ASCII_SPARK = "_.-=#"
_LEFT_DOTS = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT_DOTS = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
"""Bits of the braille pattern with the lowest 0 to 4 dots of a side set."""


def points_in(width: int, style: GraphStyle) -> int:
    """How many values fit into `width` columns."""
    return 2 * width if style == "braille" else width


def newest(values: Sequence[Value], points: int) -> list[Value]:
    """The last `points` values, padded with None at the front."""
    last = list(values[-points:]) if points > 0 else []
    missing: list[Value] = [None] * (points - len(last))
    return missing + last


def area(values: Sequence[Value], limit: float, width: int, height: int, style: GraphStyle) -> list[str]:
    """The newest values as a filled area, newest at the right; lines from the top down.

    The scale is always 0 to `limit`; values above it fill the column. A known value is never drawn as blank, so that it
    differs from a missing one.
    """
    steps = {"braille": 4, "block": 8, "ascii": 3}[style]
    levels = [_level(value, limit, steps * height) for value in newest(values, points_in(width, style))]
    lines = []
    for below in range((height - 1) * steps, -1, -steps):
        here = [min(max(level - below, 0), steps) for level in levels]
        if style == "braille":
            lines.append(
                "".join(
                    chr(0x2800 + _LEFT_DOTS[left] + _RIGHT_DOTS[right]) if left or right else " "
                    for left, right in zip(here[::2], here[1::2], strict=True)
                )
            )
        else:
            characters = _BLOCKS if style == "block" else _ASCII_LEVELS
            lines.append("".join(characters[level] for level in here))
    return lines


def sparkline(values: Sequence[Value], limit: float, width: int, style: GraphStyle) -> str:
    """The newest values on one line, on the same scale."""
    characters = _ASCII_SPARK if style == "ascii" else _BLOCKS[1:]
    newest = list(values[-width:]) if width > 0 else []
    line = "".join(" " if value is None else characters[_level(value, limit, len(characters)) - 1] for value in newest)
    return line.rjust(max(width, 0))


def _level(value: Value, limit: float, steps: int) -> int:
    if value is None:
        return 0
    if limit <= 0:
        return 1
    return min(max(round(value / limit * steps), 1), steps)
