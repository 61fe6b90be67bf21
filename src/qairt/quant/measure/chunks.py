"""Chunks of a tokenized text: some to calibrate on, others to measure on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qairt import amounts
from qairt.errors import QuantizationError


def spread(count: int, available: int) -> NDArray[np.int64]:
    """`count` of `available` places, evenly spread, ascending from 0."""
    return np.arange(count, dtype=np.int64) * available // count


def spread_chunks(ids: NDArray[np.int64], count: int, length: int) -> list[NDArray[np.int64]]:
    """`count` of the chunks of `length` tokens that a text has, evenly spread; it has as many."""
    return [ids[place * length : (place + 1) * length] for place in spread(count, len(ids) // length)]


def chunks_of(
    tokens: Sequence[int] | NDArray[np.integer], *, count: int, length: int, where: str
) -> list[NDArray[np.int64]]:
    """`count` chunks of `length` tokens, evenly spread over a text.

    Args:
        tokens: ids of the whole text.
        where: the text's name, for errors.

    Raises:
        QuantizationError: the text is too short.
    """
    ids = np.asarray(tokens, np.int64)
    available = len(ids) // length
    if available < count:
        raise QuantizationError(
            f"the calibration text has {len(ids):,} tokens, "
            f"fewer than {amounts.count(count, 'chunk')} of {length} ({count * length:,})",
            where=where,
            remedy="use a longer text"
            + (f", or set calibration_chunks to {available}" if available else " or a smaller calibration_length"),
        )
    return spread_chunks(ids, count, length)


def most_chunks(
    tokens: Sequence[int] | NDArray[np.integer], *, count: int, length: int, where: str
) -> list[NDArray[np.int64]]:
    """`chunks_of` a text that may be shorter: as many chunks as it has, or one that is shorter.

    Raises:
        QuantizationError: the text has no two tokens.
    """
    if len(tokens) >= length:
        return chunks_of(tokens, count=min(count, len(tokens) // length), length=length, where=where)
    if len(tokens) < 2:
        raise QuantizationError(
            f"the calibration text has {amounts.count(len(tokens), 'token')}",
            where=where,
            remedy="use some pages of text of the kind the adapters were trained for",
        )
    return [np.asarray(tokens, np.int64)]


def other_chunks(
    tokens: Sequence[int] | NDArray[np.integer], count: int, length: int, wanted: int
) -> list[NDArray[np.int64]]:
    """Up to `wanted` chunks of a text that `chunks_of` did not take, to measure what was calibrated on those; the
    calibration chunks themselves if the text has no others."""
    ids = np.asarray(tokens, np.int64)
    available = len(ids) // length
    used = {*spread(count, available).tolist()}
    places = np.array([place for place in range(available) if place not in used] or sorted(used))
    chosen = places[spread(min(wanted, len(places)), len(places))]
    return [ids[place * length : (place + 1) * length] for place in chosen]


def check_tokens(chunks: Sequence[NDArray[np.integer]], vocabulary: int) -> None:
    """
    Raises:
        QuantizationError: there is no chunk, or a token id is outside the vocabulary.
    """
    if not chunks or not all(len(chunk) for chunk in chunks):
        raise QuantizationError(
            "there are no tokens to calibrate on",
            remedy="give a text of at least one chunk (calibration_length tokens)",
        )
    for place, chunk in enumerate(chunks):
        outside = chunk[(chunk < 0) | (chunk >= vocabulary)]
        if len(outside):
            raise QuantizationError(
                f"token {int(outside[0])} is not in the vocabulary of {vocabulary:,}",
                where=f"calibration chunk {place}",
                remedy="use the tokenizer that was published with the model",
            )
