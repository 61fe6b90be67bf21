"""What can be known of a calibration text before anything is loaded. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import QuantizationError

EXTRA_TOKENS = 16
"""That a tokenizer may add to a text."""


def check_length(path: Path, *, chunks: int, length: int) -> None:
    """A token stands for at least one byte, so a file can be too short before it is tokenized.

    Args:
        chunks: sequences that are asked for.
        length: tokens in each.

    Raises:
        QuantizationError: no tokenizer could make that many tokens of the text.
    """
    size = path.stat().st_size
    if size + EXTRA_TOKENS >= chunks * length:
        return
    possible = size // length
    raise QuantizationError(
        f"the calibration text has {size:,} bytes, {chunks} chunks of {length} tokens need more",
        where=str(path),
        remedy="use a longer text"
        + (f", or set calibration_chunks below {possible + 1}" if possible else " or a smaller calibration_length"),
    )
