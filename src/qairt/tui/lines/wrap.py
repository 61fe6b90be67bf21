"""Breaking text into lines of a width."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells

_BREAKS = re.compile(r"[^ /,_]*(?:[ /,_]+|$)")
"""A piece that is kept together: up to and with a space, a slash, a comma or an underscore."""


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells, broken after spaces, slashes, commas and underscores; elsewhere if nothing fits.

    Args:
        width: 0 for no limit.
    """
    if width <= 0 or cell_len(text) <= width:
        yield text
        return
    line = ""
    for piece in _BREAKS.findall(text):
        if cell_len((line + piece).rstrip()) <= width:
            line += piece
            continue
        if line.strip():
            yield line.rstrip()
        *full, line = chop_cells(piece, width) if cell_len(piece.rstrip()) > width else [piece]
        yield from full
    if line.strip():
        yield line.rstrip()
