"""The float decoder over calibration text, one block at a time.

    for each block:  load its weights, run every chunk through it, let the technique look at them, let go of them

In memory: one block's weights and the hidden states that enter it, never the model. A chunk runs in segments with a KV
cache, so that what a runtime does (new tokens on top of a past) is what is measured.

Chunks run side by side, each on one thread: no thread waits for another within an operation, and the result is the
same bit for bit for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model import decoder
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD
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

    def __init__(
        self, parameters: Parameters, chunks: Sequence[NDArray[np.integer]], tap: Tap, pool: ThreadPoolExecutor
    ) -> None:
        """
        Args:
            chunks: token ids, each of one sequence from position 0.
            tap: called with the name and value of every tensor, segment by segment, on any thread.
            pool: from `one_thread_each`.

        Raises:
            QuantizationError: there is no chunk, or a token id is outside the vocabulary.
        """
        self.config = parameters.config
        _check_tokens(chunks, self.config.vocab_size)
        self.chunks = chunks
        self._parameters = parameters
        self._ops = TorchOps(parameters, tap)
        self._pool = pool
        self.hidden: list[Tensor] = []
        """[1, tokens, hidden] of every chunk: what enters the next block."""
        self.first_key: Tensor
        """[KV, 1, D, tokens] of the first chunk in the block that just ran."""
        self.first_value: Tensor
        """[KV, 1, tokens, D]."""

    def embed(self) -> None:
        """All chunks through the embedding."""
        self._load([EMBEDDING])
        self.hidden = list(self._pool.map(self._embed_chunk, self.chunks))

    def block(self, layer: int) -> None:
        """All chunks through decoder layer `layer`."""
        self._load(self._parameters.layer_names(layer))
        self.hidden = list(self._pool.map(lambda hidden: self._block_chunk(layer, hidden), self.hidden))

    def head(self, visit: Callable[[int, Tensor], None]) -> None:
        """All chunks through the head, which may be far wider than a block: `visit(position, logits)` gets the
        [1, tokens, vocab] of a segment of the first chunk that begins at `position`, in order."""
        self._load([FINAL_NORM, LM_HEAD])
        places = range(len(self.hidden))
        list(self._pool.map(lambda place: self._head_chunk(self.hidden[place], None if place else visit), places))

    def weight(self, name: str) -> Tensor:
        """A weight of the block that just ran, in the layout of `qairt.model.parameters`."""
        return self._ops.weight(name)

    def release(self) -> None:
        """Let go of all weights."""
        self._ops.release()

    def _load(self, names: Sequence[str]) -> None:
        self._ops.release()
        for name in names:
            self._ops.weight(name)

    @torch.inference_mode()
    def _embed_chunk(self, ids: NDArray[np.integer]) -> Tensor:
        return decoder.embed(self._ops, torch.from_numpy(np.asarray(ids))[None])

    @torch.inference_mode()
    def _block_chunk(self, layer: int, hidden: Tensor) -> Tensor:
        pieces, past = [], self._empty_past()
        for start, stop in _segments(hidden.shape[1]):
            cos, sin = (torch.from_numpy(part)[None, None] for part in rotary(self.config, np.arange(start, stop)))
            mask = torch.full((stop - start, stop), MASKED).triu(start + 1)[None, None]
            piece, key, value = decoder.block(
                self._ops, self.config, layer, hidden[:, start:stop], mask, cos, sin, *past
            )
            past = torch.cat((past[0], key), 3), torch.cat((past[1], value), 2)
            pieces.append(piece)
        if hidden is self.hidden[0]:
            self.first_key, self.first_value = past
        return torch.cat(pieces, 1)

    @torch.inference_mode()
    def _head_chunk(self, hidden: Tensor, visit: Callable[[int, Tensor], None] | None) -> None:
        for start, stop in _segments(hidden.shape[1]):
            logits = decoder.head(self._ops, self.config, hidden[:, start:stop])
            if visit is not None:
                visit(start, logits)

    def _empty_past(self) -> tuple[Tensor, Tensor]:
        kv, dim = self.config.num_kv_heads, self.config.head_dim
        return torch.zeros(kv, 1, dim, 0), torch.zeros(kv, 1, 0, dim)


@contextmanager
def one_thread_each(threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool whose workers run torch on one thread each.

    Args:
        threads: workers; as many as torch was set to when None.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads or before, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


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
