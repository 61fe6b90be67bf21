"""The decoder over calibration text, one block at a time.

    for each block:  load its weights, run every chunk through it, let the technique inspect them, release them

In memory: one block's weights and its inputs, never the model; of a mixture of experts, one expert's weights at a time.
A chunk runs in segments with a KV cache, so that what is measured is what a runtime does: new tokens on top of a past.

A technique may need each linear's inputs as the quantized layers before it produce them. Then the chunks run through
two streams side by side, one with the float weights and one with the chosen weights, in a single pass.

Chunks run side by side, each on one thread: no thread waits for another within an operation, and the result is bit for
bit the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model import decoder
from qairt.model.kept import kept_names
from qairt.model.layers.pooling import pooled
from qairt.model.layout import EMBEDDING, LM_HEAD, head_names
from qairt.model.names import split_expert
from qairt.model.parameters import Parameters
from qairt.model.reference import empty_past, sequence_positions
from qairt.model.torch_ops import Tap, TorchOps, shared
from qairt.quant.bfloat16 import fastest_type
from qairt.quant.measure.block_forward import block_forward
from qairt.quant.measure.chunks import check_tokens
from qairt.quant.measure.deferred import FLOAT, QUANTIZED, Deferred, Segment, Values
from qairt.quant.measure.lockstep import LinearInputs, LockstepOps, kept_of
from qairt.quant.measure.overlay_ops import OverlayOps

SEGMENT_TOKENS = 256
"""Tokens that go through a block at once."""
LOGIT_TOKENS = 4096
"""Tokens, evenly spread, whose logits are measured: lm_head is wide, and more show the same range."""
BEGINNINGS = 16
"""How many beginnings of each chunk are measured."""

OnVocabulary = Callable[[int, Tensor], None]
"""Called with a slice of a vocabulary's matrix: the id of its first token, and [tokens, hidden] of the embedding or
[hidden, tokens] of lm_head."""
Branches = Mapping[str, Tensor]
"""Values of the LoRA branches' inputs, by name."""
ChooseWeight = Callable[[str, LinearInputs], Tensor]
"""A weight's name and the linear's inputs -> the weight [in, out] that the quantized stream continues with."""


class Calibration:
    """Token chunks on their way through the decoder."""

    def __init__(
        self,
        parameters: Parameters,
        chunks: Sequence[NDArray[np.integer]],
        tap: Tap,
        pool: ThreadPoolExecutor,
        *,
        begins_at: Callable[[Segment], None] = lambda segment: None,
        device: torch.device | None = None,
        branches: Callable[[int], Branches] = lambda chunk: {},
    ) -> None:
        """
        Args:
            chunks: token ids, each of one sequence from position 0.
            tap: called with the name and value of every tensor of the float model, segment by segment, on any thread.
            pool: from `qairt.quant.threads.one_thread_each`.
            begins_at: called on the same thread before `tap`, with the segment.
            device: the CPU when None.
            branches: gives the LoRA branches that a chunk runs with, on `device`; all chunks have some, or none has.

        Raises:
            QuantizationError: there is no chunk, or a token id is outside the vocabulary.
        """
        self.config = parameters.config
        check_tokens(chunks, self.config.vocab_size)
        self.chunks = chunks
        self.device = device or torch.device("cpu")
        self.parameters = parameters
        self._tap = tap
        self._begins_at = begins_at
        self._branches = branches
        self._ops = TorchOps(parameters, tap, self.device)
        self.pool = pool
        self.hidden: list[Tensor] = []
        """[1, tokens, hidden] by chunk: the next block's input."""
        self.quantized: list[Tensor] | None = None
        """The same of the quantized stream; None until a weight is chosen."""
        self.latest: dict[tuple[int, int], tuple[Tensor, ...]] = {}
        """By stream and chunk, what the latest block keeps of all tokens (`qairt.model.kept`), for the chunks in
        `kept`."""
        self.kept = [0]
        """The chunks whose keys and values are kept; their quantized stream is exact."""

    def embed(self, on_vocabulary: OnVocabulary) -> None:
        """Run all chunks through the embedding, a slice of the vocabulary at a time."""
        self._ops.release()
        used = np.unique(np.concatenate([np.asarray(chunk, np.int64) for chunk in self.chunks]))
        rows = torch.empty(len(used), self.config.hidden_size, device=self.device)
        for start, some in self._vocabulary(EMBEDDING):
            on_vocabulary(start, some)
            first, last = np.searchsorted(used, (start, start + len(some)))
            rows[first:last] = some[torch.from_numpy(used[first:last] - start)]
        ops = OverlayOps(self._ops, {EMBEDDING: rows}, self._tap)

        @torch.inference_mode()
        def embedded(chunk: NDArray[np.integer]) -> Tensor:
            return decoder.embed(ops, torch.from_numpy(np.searchsorted(used, chunk))[None])

        self.hidden = list(self.pool.map(embedded, self.chunks))

    def block(self, layer: int, choose: ChooseWeight | None = None) -> None:
        """Run all chunks through decoder layer `layer`; with `choose`, in both streams."""
        self._ops.hold(self.parameters.names_beside_experts(layer))
        chosen: dict[str, tuple[Tensor, Tensor]] = {}  # exact, and for chunks not kept
        streams = [self.hidden] if choose is None else [self.hidden, self.quantized or self.hidden]
        segments = [
            Segment(stream, chunk, start, stop)
            for stream, hiddens in enumerate(streams)
            for chunk, hidden in enumerate(hiddens)
            for start, stop in self._segments(hidden.shape[1])
        ]

        def weight(segment: Segment, name: str) -> Tensor:
            if segment.stream == FLOAT or name not in chosen:
                return self.weight(name)
            return chosen[name][segment.chunk not in self.kept]

        def on_linear(name: str, inputs: LinearInputs) -> None:
            if choose is not None:
                exact = choose(name, inputs)
                chosen[name] = exact, exact.to(fastest_type(self.device.type))

        def release_expert(down: str, expert: int) -> None:
            self._ops.release_expert(down, expert)
            for name in [name for name in chosen if split_expert(name)[1] == expert]:
                del chosen[name]

        taps = (self._tap, None)
        ops = LockstepOps(segments, weight, on_linear, taps, self.pool, self._begins_at, self._branches)
        ops.release_expert = release_expert
        outputs = ops.compute(self._run(ops, layer, streams))
        self.latest = {
            (stream, chunk): kept_of(ops, self.config, layer, stream, chunk)
            for stream in range(len(streams))
            for chunk in self.kept
        }
        joined: list[list[Tensor]] = [[] for _ in range(2 * len(self.chunks))]
        for segment, value in zip(segments, outputs, strict=True):
            joined[segment.stream * len(self.chunks) + segment.chunk].append(value)
        hidden = [torch.cat(parts, 1) for parts in joined if parts]
        chosen.clear()  # `on_linear` keeps it alive in a reference cycle
        ops.release()
        self.hidden = hidden[: len(self.chunks)]
        self.quantized = hidden[len(self.chunks) :] or None

    def forward(
        self, layer: int, chunk: int, hidden: Tensor, weights: Mapping[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run a whole chunk through decoder layer `layer`, whose weights are loaded; gradients flow.

        Args:
            chunk: its number.
            hidden: [1, tokens, hidden].
            weights: replacements for the stored ones, by name.

        Returns:
            As `decoder.block`.
        """
        return block_forward(OverlayOps(self._ops, weights, branches=self._branches(chunk)), layer, hidden)

    def rerun_quantized(self, layer: int, before: Sequence[Tensor], weights: Mapping[str, Tensor]) -> None:
        """Run the quantized stream through the latest block again, with other weights.

        Args:
            before: the block's input in that stream.
        """

        @torch.inference_mode()
        def forward(chunk: int, hidden: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            return self.forward(layer, chunk, hidden, weights)

        outputs = list(self.pool.map(forward, range(len(before)), before))
        self.quantized = [hidden for hidden, _ in outputs]
        for chunk in self.kept:
            self.latest[QUANTIZED, chunk] = outputs[chunk][1]

    @torch.inference_mode()
    def head(self, on_vocabulary: OnVocabulary, positions: Mapping[int, slice]) -> dict[tuple[int, int], Tensor]:
        """Run all chunks through the head, a slice of the vocabulary at a time, and drop the hidden states.

        Args:
            positions: by chunk, those whose logits are returned.

        Returns:
            Logits [1, positions, vocab] by stream and chunk.
        """
        self._ops.hold(head_names(self.config))
        numbers = range(len(self.hidden))
        normed = list(self.pool.map(self._final_norm, numbers, self.hidden))
        wanted = {(FLOAT, chunk): normed[chunk][:, kept] for chunk, kept in positions.items()}
        if self.quantized is not None:
            untapped = OverlayOps(self._ops, {})
            for chunk, kept in positions.items():
                quantized = decoder.final_norm(untapped, self.config, self.quantized[chunk])
                wanted[QUANTIZED, chunk] = quantized[:, kept]
        self.hidden, self.quantized = [], None
        logits: dict[tuple[int, int], list[Tensor]] = {place: [] for place in wanted}
        for start, some in self._vocabulary(LM_HEAD):
            on_vocabulary(start, some)
            ops = OverlayOps(self._ops, {LM_HEAD: some}, self._tap)
            list(self.pool.map(partial(self._tap_logits, ops), numbers, normed))
            untapped = OverlayOps(self._ops, {LM_HEAD: some})
            for place, hidden in wanted.items():
                logits[place].append(decoder.logits(untapped, self.config, hidden))
        return {place: torch.cat(parts, -1) for place, parts in logits.items()}

    @torch.inference_mode()
    def pooled(self, chunks: Sequence[int]) -> dict[tuple[int, int], Tensor]:
        """Run all chunks through the head of an embedding model, and drop the hidden states. The range of what follows
        the pooling is that of many beginnings of each chunk, as a chunk gives only one vector.

        Args:
            chunks: those whose vectors are returned.

        Returns:
            Vectors [1, 1, values] by stream and chunk.
        """
        self._ops.hold(head_names(self.config))
        numbers = range(len(self.hidden))
        normed = list(self.pool.map(self._final_norm, numbers, self.hidden))
        untapped = OverlayOps(self._ops, {})
        made: dict[tuple[int, int], Tensor] = {}
        for chunk in numbers:
            tokens = normed[chunk].shape[1]
            for length in sorted({*range(1, tokens, max(tokens // BEGINNINGS, 1)), tokens}):
                self._begins_at(Segment(FLOAT, chunk, 0, length))
                found = self._pooled(self._ops, normed[chunk][:, :length])
            if chunk in chunks:
                made[FLOAT, chunk] = found
        if self.quantized is not None:
            for chunk in chunks:
                rounded = decoder.final_norm(untapped, self.config, self.quantized[chunk])
                made[QUANTIZED, chunk] = self._pooled(untapped, rounded)
        self.hidden, self.quantized = [], None
        return made

    def weight(self, name: str) -> Tensor:
        """A weight of the latest block, in the layout of `qairt.model.parameters`."""
        return self._ops.weight(name)

    def release(self) -> None:
        """Release all weights."""
        self._ops.release()

    def _run(self, ops: LockstepOps, layer: int, streams: Sequence[list[Tensor]]) -> Values:
        hidden = [
            Deferred.known(streams[segment.stream][segment.chunk][:, segment.start : segment.stop])
            for segment in ops.segments
        ]
        kept, empty = kept_names(self.config, layer), empty_past(self.config, layer)
        past = [ops.past(present, before.to(self.device)) for (_, present), before in zip(kept, empty, strict=True)]
        positions = self._positions(ops.segments)
        leaves, _ = decoder.block(ops, self.config, layer, hidden, positions, past)
        return leaves

    def _positions(self, segments: Sequence[Segment]) -> dict[str, Values]:
        """Those of each segment; segments at the same place share them."""
        known: dict[tuple[int, int], dict[str, Deferred]] = {}
        for start, stop in {(segment.start, segment.stop) for segment in segments}:
            found = sequence_positions(self.config, stop - start, past=start, device=self.device)
            known[start, stop] = {name: Deferred.known(value) for name, value in found.items()}
        each = [known[segment.start, segment.stop] for segment in segments]
        return {name: [found[name] for found in each] for name in each[0]}

    def _pooled(self, ops: TorchOps, normed: Tensor) -> Tensor:
        return pooled(ops, self.config, normed, torch.zeros(1, 1, 1, normed.shape[1], device=self.device))

    @torch.inference_mode()
    def _final_norm(self, chunk: int, hidden: Tensor) -> Tensor:
        parts = []
        for start, stop in self._segments(hidden.shape[1]):
            self._begins_at(Segment(FLOAT, chunk, start, stop))
            parts.append(decoder.final_norm(self._ops, self.config, hidden[:, start:stop]))
        return torch.cat(parts, 1)

    @torch.inference_mode()
    def _tap_logits(self, ops: TorchOps, chunk: int, normed: Tensor) -> None:
        step = -(-sum(map(len, self.chunks)) // LOGIT_TOKENS)
        for start, stop in self._segments(normed.shape[1]):
            self._begins_at(Segment(FLOAT, chunk, start, stop))
            decoder.logits(ops, self.config, normed[:, start:stop:step])

    def _segments(self, length: int) -> Iterator[tuple[int, int]]:
        step = length if self.config.pooling is not None else SEGMENT_TOKENS  # an embedding model has no cache
        for start in range(0, length, step):
            yield start, min(start + step, length)

    def _vocabulary(self, name: str) -> Iterator[tuple[int, Tensor]]:
        for start, some in self.parameters.vocabulary(name):
            yield start, shared(some).to(self.device)
