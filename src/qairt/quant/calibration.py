"""The float decoder over calibration text, one block at a time.

    for each block:  load its weights, run every chunk through it, let the technique look at them, let go of them

In memory: one block's weights and the hidden states that enter it, never the model. A chunk runs in segments with a KV
cache, so that what a runtime does (new tokens on top of a past) is what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model import decoder
from qairt.model.parameters import Parameters
from qairt.model.reference import MASKED, Tap, TorchOps
from qairt.model.rope import rotary

SEGMENT = 256
"""Tokens that go through a block at once."""


def chunks_of(
    tokens: Sequence[int] | NDArray[np.integer], *, count: int, length: int, where: str
) -> list[NDArray[np.int64]]:
    """`count` chunks of `length` tokens, evenly spread over a text.

    Args:
        tokens: the whole text's ids.
        where: the text's name, for errors.

    Raises:
        QuantizationError: the text is too short.
    """
    ids = np.asarray(tokens, np.int64)
    available = len(ids) // length
    if available < count:
        raise QuantizationError(
            f"the calibration text holds {len(ids):,} tokens, {count} chunks of {length} need {count * length:,}",
            where=where,
            remedy="use a longer text"
            + (f", or set calibration_chunks to {available}" if available else " or a smaller calibration_length"),
        )
    starts = (np.arange(count) * available // count) * length
    return [ids[start : start + length] for start in starts]


class Calibration:
    """Token chunks on their way through the decoder."""

    def __init__(self, parameters: Parameters, chunks: Sequence[NDArray[np.integer]], tap: Tap) -> None:
        """
        Args:
            chunks: token ids, each of one sequence from position 0.
            tap: called with the name and value of every tensor, segment by segment.

        Raises:
            QuantizationError: there is no chunk, or a token id is outside the vocabulary.
        """
        self.config = parameters.config
        _check_tokens(chunks, self.config.vocab_size)
        self.chunks = chunks
        self._ops = TorchOps(parameters, tap)
        self.hidden: list[Tensor] = []
        """[1, tokens, hidden] of every chunk: what enters the next block."""
        self.first_key: Tensor
        """[KV, 1, D, tokens] of the first chunk in the block that just ran."""
        self.first_value: Tensor
        """[KV, 1, tokens, D]."""

    @torch.inference_mode()
    def embed(self) -> None:
        """All chunks through the embedding."""
        self._ops.release()
        self.hidden = [decoder.embed(self._ops, torch.from_numpy(np.asarray(ids))[None]) for ids in self.chunks]

    @torch.inference_mode()
    def block(self, layer: int) -> None:
        """All chunks through decoder layer `layer`."""
        self._ops.release()
        for place, hidden in enumerate(self.hidden):
            pieces, past = [], self._empty_past()
            for start, stop in _segments(hidden.shape[1]):
                cos, sin = (torch.from_numpy(part)[None, None] for part in rotary(self.config, np.arange(start, stop)))
                mask = torch.full((stop - start, stop), MASKED).triu(start + 1)[None, None]
                piece, key, value = decoder.block(
                    self._ops, self.config, layer, hidden[:, start:stop], mask, cos, sin, *past
                )
                past = torch.cat((past[0], key), 3), torch.cat((past[1], value), 2)
                pieces.append(piece)
            self.hidden[place] = torch.cat(pieces, 1)
            if place == 0:
                self.first_key, self.first_value = past

    @torch.inference_mode()
    def head(self, visit: Callable[[int, Tensor], None]) -> None:
        """All chunks through the head, which may be far wider than a block: `visit(position, logits)` gets the
        [1, tokens, vocab] of a segment of the first chunk that begins at `position`."""
        self._ops.release()
        for place, hidden in enumerate(self.hidden):
            for start, stop in _segments(hidden.shape[1]):
                logits = decoder.head(self._ops, self.config, hidden[:, start:stop])
                if place == 0:
                    visit(start, logits)

    def weight(self, name: str) -> Tensor:
        """A weight of the block that just ran, in the layout of `qairt.model.parameters`."""
        return self._ops.weight(name)

    def release(self) -> None:
        """Let go of all weights."""
        self._ops.release()

    def _empty_past(self) -> tuple[Tensor, Tensor]:
        kv, dim = self.config.num_kv_heads, self.config.head_dim
        return torch.zeros(kv, 1, dim, 0), torch.zeros(kv, 1, 0, dim)


def _segments(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, SEGMENT):
        yield start, min(start + SEGMENT, length)


def _check_tokens(chunks: Sequence[NDArray[np.integer]], vocabulary: int) -> None:
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
                remedy="the tokenizer and the model do not belong together",
            )
