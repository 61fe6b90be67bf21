"""Checks of a calibration text before anything is loaded. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from qairt import amounts
from qairt.errors import QuantizationError

EXTRA_TOKENS = 16
"""Tokens that a tokenizer may add to a text."""


def check_length(path: Path, *, chunks: int, length: int) -> None:
    """A token is at least one byte, so a file can be too short whatever the tokenizer.

    Args:
        chunks: number of sequences.
        length: tokens in each.

    Raises:
        QuantizationError: no tokenizer can produce that many tokens from the text.
    """
    size = path.stat().st_size
    if size + EXTRA_TOKENS >= chunks * length:
        return
    possible = size // length
    raise QuantizationError(
        f"the calibration text has {size:,} bytes, too few for {amounts.count(chunks, 'chunk')} of {length} tokens",
        where=str(path),
        remedy="use a longer text"
        + (f", or set calibration_chunks below {possible + 1}" if possible else " or a smaller calibration_length"),
    )
