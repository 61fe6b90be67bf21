"""The decoder over calibration text, one block at a time.

    for each block:  load its weights, run every chunk through it, let the technique look at them, let go of them

In memory: one block's weights and what enters it, never the model. A chunk runs in segments with a KV cache, so that
what a runtime does (new tokens on top of a past) is what is measured.

A technique may want each linear to see what the quantized layers before it give. Then the chunks run twice side by
side, once through the float weights and once through those that were chosen: two streams, one pass.

Chunks run side by side, each on one thread: no thread waits for another within an operation, and the result is the
same bit for bit for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model import decoder
from qairt.model.decoder import present_names
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD
from qairt.model.parameters import Parameters
from qairt.model.reference import Tap, TorchOps, causal_mask, empty_past, shared
from qairt.model.rope import rotary
from qairt.quant.measure.lockstep import Deferred, LockstepOps, Piece, Values

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


def other_chunks(
    tokens: Sequence[int] | NDArray[np.integer], count: int, length: int, wanted: int
) -> list[NDArray[np.int64]]:
    """Up to `wanted` chunks of a text that are not among its `chunks_of`, to measure what was calibrated on those; or
    these themselves, where the text holds no others."""
    ids = np.asarray(tokens, np.int64)
    available = len(ids) // length
    used = {place * available // count for place in range(count)}
    places = np.array([place for place in range(available) if place not in used] or sorted(used))
    chosen = places[np.arange(min(wanted, len(places))) * len(places) // min(wanted, len(places))]
    return [ids[place * length : (place + 1) * length] for place in chosen]


FLOAT, QUANTIZED = 0, 1
"""The streams."""


class Inputs:
    """What goes into a linear, in both streams."""

    def __init__(self, ops: LockstepOps, values: Values) -> None:
        self._ops = ops
        self._values = values

    def read(self) -> tuple[list[Tensor], list[Tensor]]:
        """Of the float and of the quantized stream, piece by piece [tokens, in]; pieces are in the same order."""
        computed = [value.flatten(0, -2) for value in self._ops.compute(self._values)]
        by_stream: tuple[list[Tensor], list[Tensor]] = ([], [])
        for piece, value in zip(self._ops.pieces, computed, strict=True):
            by_stream[piece.stream].append(value)
        return by_stream

    def same_as(self, other: Inputs) -> bool:
        """They are the same tensors."""
        return self._values is other._values


Look = Callable[[int, Tensor], None]
"""Told of a part of a vocabulary's matrix: its first token's id, and [tokens, hidden] of the embedding or
[hidden, tokens] of lm_head."""
Choose = Callable[[str, Inputs], Tensor]
"""Weight's name and inputs -> the weight [in, out] that the quantized stream goes on with."""


class Calibration:
    """Token chunks on their way through the decoder."""

    def __init__(
        self,
        parameters: Parameters,
        chunks: Sequence[NDArray[np.integer]],
        tap: Tap,
        pool: ThreadPoolExecutor,
        *,
        begins_at: Callable[[int], None] = lambda position: None,
        device: torch.device | None = None,
    ) -> None:
        """
        Args:
            chunks: token ids, each of one sequence from position 0.
            tap: called with the name and value of every tensor of the float model, segment by segment, on any thread.
            pool: from `one_thread_each`.
            begins_at: called on the same thread before, with the position of the segment.
            device: where it is computed; the processor when None.

        Raises:
            QuantizationError: there is no chunk, or a token id is outside the vocabulary.
        """
        self.config = parameters.config
        _check_tokens(chunks, self.config.vocab_size)
        self.chunks = chunks
        self.device = device or torch.device("cpu")
        self._parameters = parameters
        self._tap = tap
        self._begins_at = begins_at
        self._ops = TorchOps(parameters, tap, self.device)
        self._pool = pool
        self._weights: dict[str, Tensor] = {}
        self.hidden: list[Tensor] = []
        """[1, tokens, hidden] of every chunk: what enters the next block."""
        self.quantized: list[Tensor] | None = None
        """The same of the quantized stream; None while nothing was chosen, and both are the same."""
        self.first: dict[int, tuple[Tensor, Tensor]] = {}
        """By stream, key [KV, 1, D, tokens] and value [KV, 1, tokens, D] of the first chunk in the block that just
        ran."""

    def embed(self, look: Look) -> None:
        """All chunks through the embedding, some of the vocabulary at a time."""
        self._ops.release()
        used = np.unique(np.concatenate([np.asarray(chunk, np.int64) for chunk in self.chunks]))
        rows = torch.empty(len(used), self.config.hidden_size, device=self.device)
        for start, some in self._vocabulary(EMBEDDING):
            look(start, some)
            first, last = np.searchsorted(used, (start, start + len(some)))
            rows[first:last] = some[torch.from_numpy(used[first:last] - start)]
        ops = Given(self._ops, {EMBEDDING: rows}, self._tap)

        @torch.inference_mode()
        def embedded(chunk: NDArray[np.integer]) -> Tensor:
            return decoder.embed(ops, torch.from_numpy(np.searchsorted(used, chunk))[None])

        self.hidden = list(self._pool.map(embedded, self.chunks))

    def block(self, layer: int, choose: Choose | None = None) -> None:
        """All chunks through decoder layer `layer`; with `choose` in both streams."""
        self._ops.hold(self._parameters.layer_names(layer))
        chosen: dict[str, Tensor] = {}
        streams = [self.hidden] if choose is None else [self.hidden, self.quantized or self.hidden]
        pieces = [
            Piece(stream, chunk, start, stop)
            for stream, hiddens in enumerate(streams)
            for chunk, hidden in enumerate(hiddens)
            for start, stop in _segments(hidden.shape[1])
        ]

        def weight(stream: int, name: str) -> Tensor:
            return chosen[name] if stream == QUANTIZED and name in chosen else self.weight(name)

        def look(name: str, values: Values) -> None:
            if choose is not None:
                chosen[name] = choose(name, Inputs(ops, values))

        ops = LockstepOps(pieces, weight, look, (self._tap, None), self._pool, self._begins_at)
        outputs = ops.compute(self._run(ops, layer, streams))
        self.first = {stream: _first_chunk(ops, layer, stream) for stream in range(len(streams))}
        joined: list[list[Tensor]] = [[] for _ in range(2 * len(self.chunks))]
        for piece, value in zip(pieces, outputs, strict=True):
            joined[piece.stream * len(self.chunks) + piece.chunk].append(value)
        hidden = [torch.cat(parts, 1) for parts in joined if parts]
        chosen.clear()  # what looks at a linear holds on to it in a circle
        ops.release()
        self.hidden = hidden[: len(self.chunks)]
        self.quantized = hidden[len(self.chunks) :] or None

    def forward(self, layer: int, hidden: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """A whole chunk through decoder layer `layer`, of which the weights are loaded; gradients flow.

        Args:
            hidden: [1, tokens, hidden].
            weights: instead of those stored, by name.

        Returns:
            hidden [1, tokens, hidden], key [KV, 1, D, tokens], value [KV, 1, tokens, D].
        """
        mask, cos, sin = self._fixed(0, hidden.shape[1])
        past_key, past_value = self._empty_past()
        ops = Given(self._ops, weights)
        return decoder.block(ops, self.config, layer, hidden, mask, cos, sin, past_key, past_value)

    def go_on(self, layer: int, before: Sequence[Tensor], weights: Mapping[str, Tensor]) -> None:
        """Let the quantized stream leave the block that just ran with other weights.

        Args:
            before: what entered the block in that stream.
        """

        @torch.inference_mode()
        def forward(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return self.forward(layer, hidden, weights)

        outputs = list(self._pool.map(forward, before))
        self.quantized = [hidden for hidden, _, _ in outputs]
        _, key, value = outputs[0]
        self.first[QUANTIZED] = key, value

    @torch.inference_mode()
    def head(self, look: Look, kept: slice) -> dict[int, Tensor]:
        """All chunks through the head, some of the vocabulary at a time; then no hidden state is left.

        Args:
            kept: positions of the first chunk.

        Returns:
            Their logits [1, positions, vocab] by stream.
        """
        self._ops.hold([FINAL_NORM])
        normed = list(self._pool.map(self._final_norm, self.hidden))
        wanted = {FLOAT: normed[0][:, kept]}
        if self.quantized is not None:
            quiet = Given(self._ops, {})
            wanted[QUANTIZED] = decoder.final_norm(quiet, self.config, self.quantized[0])[:, kept]
        self.hidden, self.quantized = [], None
        logits: dict[int, list[Tensor]] = {stream: [] for stream in wanted}
        for start, some in self._vocabulary(LM_HEAD):
            look(start, some)
            ops = Given(self._ops, {LM_HEAD: some}, self._tap)
            list(self._pool.map(lambda one, ops=ops: self._logits(ops, one), normed))
            for stream, one in wanted.items():
                logits[stream].append(one @ some)
        return {stream: torch.cat(parts, -1) for stream, parts in logits.items()}

    def weight(self, name: str) -> Tensor:
        """A weight of the block that just ran, in the layout of `qairt.model.parameters`."""
        return self._ops.weight(name)

    def release(self) -> None:
        """Let go of all weights."""
        self._ops.release()

    def _run(self, ops: LockstepOps, layer: int, streams: Sequence[list[Tensor]]) -> Values:
        known: Mapping[tuple[int, int], list[Deferred]] = {
            (start, stop): [Deferred.of(value) for value in self._fixed(start, stop)]
            for start, stop in {(one.start, one.stop) for one in ops.pieces}
        }
        mask, cos, sin = ([known[piece.start, piece.stop][which] for piece in ops.pieces] for which in range(3))
        hidden = [Deferred.of(streams[piece.stream][piece.chunk][:, piece.start : piece.stop]) for piece in ops.pieces]
        past = [
            ops.past(present, axis, empty)
            for present, axis, empty in zip(present_names(layer), (3, 2), self._empty_past(), strict=True)
        ]
        leaves, _, _ = decoder.block(ops, self.config, layer, hidden, mask, cos, sin, *past)
        return leaves

    def _fixed(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mask, cosine and sine of tokens start … stop - 1."""
        turns = rotary(self.config, np.arange(start, stop))
        cos, sin = (torch.from_numpy(part)[None, None].to(self.device) for part in turns)
        return causal_mask(stop - start, start).to(self.device), cos, sin

    @torch.inference_mode()
    def _final_norm(self, hidden: Tensor) -> Tensor:
        parts = []
        for start, stop in _segments(hidden.shape[1]):
            self._begins_at(start)
            parts.append(decoder.final_norm(self._ops, self.config, hidden[:, start:stop]))
        return torch.cat(parts, 1)

    @torch.inference_mode()
    def _logits(self, ops: TorchOps, normed: Tensor) -> None:
        """Show them to the tap."""
        for start, stop in _segments(normed.shape[1]):
            self._begins_at(start)
            decoder.logits(ops, normed[:, start:stop])

    def _vocabulary(self, name: str) -> Iterator[tuple[int, Tensor]]:
        for start, some in self._parameters.vocabulary(name):
            yield start, shared(some).to(self.device)

    def _empty_past(self) -> tuple[Tensor, Tensor]:
        key, value = empty_past(self.config)
        return key.to(self.device), value.to(self.device)


class Given(TorchOps):
    """On the weights that another holds, some of them given."""

    def __init__(self, ops: TorchOps, weights: Mapping[str, Tensor], tap: Tap | None = None) -> None:
        super().__init__(ops.parameters, tap, ops.device)
        self._stored = ops
        self._given = weights

    def weight(self, name: str) -> Tensor:
        given = self._given.get(name)
        return self._stored.weight(name) if given is None else given


def _first_chunk(ops: LockstepOps, layer: int, stream: int) -> tuple[Tensor, Tensor]:
    """Key and value of a stream's first chunk."""
    key, value = (
        torch.cat(
            [
                part.value
                for piece, part in zip(ops.pieces, ops.present(name), strict=True)
                if piece.stream == stream and piece.chunk == 0 and part.value is not None
            ],
            axis,
        )
        for name, axis in zip(present_names(layer), (3, 2), strict=True)
    )
    return key, value


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
