"""The decoder on torch, float or simulated, one block at a time for many sequences.

    for each block:  load its weights, run every sequence through it, release them

In memory: one block's weights, and the hidden states of all sequences. Sequences run concurrently, each on one thread
(on a GPU one after the other): the result is bit-equal for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import ModelError
from qairt.evaluate.text_model import Done, Ids
from qairt.model import decoder
from qairt.model.layout import EMBEDDING, LM_HEAD, head_names
from qairt.model.ops import Attention
from qairt.model.parameters import Parameters
from qairt.model.reference import empty_past, grown_all
from qairt.quant.encodings import Encodings
from qairt.quant.simulate import SimulatedOps, rounded_positions

T = TypeVar("T")

SEGMENT = 512
"""Tokens that go through a block at once."""
QUERIES = 64
"""Tokens that attend at once: their scores stay in the processor's cache."""
HEAD_ROWS = 64
"""Tokens that go through the head at once. With twice as many, memory for the logits comes from the system each time,
which takes longer than the larger product saves."""


class BlockwiseModel:
    """A `ReferenceModel` on torch."""

    is_concurrent = True

    def __init__(
        self,
        parameters: Parameters,
        encodings: Encodings,
        pool: ThreadPoolExecutor,
        device: str = "cpu",
        branches: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """
        Args:
            parameters: the quantized model's, where encodings are given.
            encodings: of the tensors that are quantized; empty for the float model.
            pool: from `qairt.quant.threads.one_thread_each`; one thread for a GPU.
            device: as torch names it.
            branches: values of the LoRA branches' inputs, by name; those of the base when None.
        """
        self.config = parameters.config
        self._parameters = parameters
        self._ops = _ReadingOps(parameters, encodings, device, branches)
        self._inputs = encodings.activations
        self._device = device
        self._pool = pool
        self._hidden: list[Tensor] = []
        layers = self.config.num_layers
        self.read_fraction = layers / (layers + _head_in_layers(self.config.vocab_size, self.config.intermediate_size))
        self._segment = lru_cache(maxsize=64)(self._compute_segment)

    def read(self, sequences: Sequence[Ids], done: Done) -> None:
        """
        Raises:
            ModelError: a token is outside the vocabulary, or a weight cannot be read.
        """
        for ids in sequences:
            _check_tokens(ids, self.config.vocab_size)
        self._ops.hold([EMBEDDING])
        self._hidden = self._all(self._embedded, sequences, lambda fraction: None)
        layers = self.config.num_layers
        for layer in range(layers):
            self._ops.hold(self._parameters.names_beside_experts(layer))
            self._hidden = self._all(
                partial(self._after_block, layer), self._hidden, partial(_done_in_layer, done, layer, layers)
            )
        self._ops.hold([*head_names(self.config), LM_HEAD])

    def logits(self, index: int) -> Iterator[tuple[int, Tensor]]:
        length = self._hidden[index].shape[1]
        for start in range(0, length, HEAD_ROWS):
            yield start, self.rows(index, start, min(start + HEAD_ROWS, length))

    @torch.inference_mode()
    def rows(self, index: int, start: int, stop: int) -> Tensor:
        return decoder.head(self._ops, self.config, self._hidden[index][:, start:stop])[0]

    def close(self) -> None:
        self._ops.release()
        self._hidden = []

    def _all(self, work: Callable[[T], Tensor], inputs: Sequence[T], done: Done) -> list[Tensor]:
        """The results of `work` on each input, computed concurrently, in their order."""
        futures = [self._pool.submit(work, each) for each in inputs]
        try:
            for count, _ in enumerate(as_completed(futures), start=1):
                done(count / len(futures))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]

    @torch.inference_mode()
    def _embedded(self, ids: Ids) -> Tensor:
        return decoder.embed(self._ops, torch.from_numpy(np.asarray(ids, np.int64))[None].to(self._device))

    @torch.inference_mode()
    def _after_block(self, layer: int, hidden: Tensor) -> Tensor:
        length, pieces = hidden.shape[1], []
        past = tuple(empty.to(self._device) for empty in empty_past(self.config, layer))
        for start in range(0, length, SEGMENT):
            stop = min(start + SEGMENT, length)
            piece, fresh = decoder.block(
                self._ops,
                self.config,
                layer,
                hidden[:, start:stop],
                self._segment(start, stop, length),
                past,
            )
            past = grown_all(self.config, layer, past, fresh)
            pieces.append(piece)
        return torch.cat(pieces, 1)

    def _compute_segment(self, start: int, stop: int, length: int) -> dict[str, Tensor]:
        """The positions of tokens `start` … `stop - 1` of a sequence of `length`."""
        made = rounded_positions(self.config, self._inputs, stop - start, start, length=length)
        return {name: value.to(self._device) for name, value in made.items()}


class _ReadingOps(SimulatedOps):
    """Attention of a few queries at a time, without the keys of later tokens: when a graph computes so few, those do
    not exist yet. All other masked keys are there, as they are for a graph."""

    def attend(self, attention: Attention, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        if self.device.type != "cpu":
            return super().attend(attention, q, keys, values, mask)
        parts: list[Tensor] = []
        count, past = q.shape[2], keys.shape[-1] - q.shape[2]
        for start in range(0, count, QUERIES):
            stop = min(start + QUERIES, count)
            rows, end = slice(start, stop), past + stop
            parts.append(attention(self, q[:, :, rows], keys[..., :end], values[:, :, :end], mask[..., rows, :end]))
        return torch.cat(parts, 2)


def _done_in_layer(done: Done, layer: int, layers: int, fraction: float) -> None:
    done((layer + fraction) / layers)


def _head_in_layers(vocab_size: int, intermediate_size: int) -> float:
    """The head's work in layers, roughly: a layer has about four matrices of the MLP's width."""
    return vocab_size / (4 * intermediate_size)


def _check_tokens(ids: Ids, vocabulary: int) -> None:
    outside = ids[(ids < 0) | (ids >= vocabulary)]
    if len(outside):
        raise ModelError(
            f"token {int(outside[0])} is not in the model's vocabulary of {vocabulary:,}",
            where="the text to evaluate on",
            remedy="use the tokenizer that belongs to the model",
        )
