"""The split, quantized graphs on ONNX Runtime's CPU provider or on a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from qairt.evaluate.text_model import Done, Ids
from qairt.model.config import DecoderConfig
from qairt.runtime.chain import PartChain
from qairt.runtime.parts import Opener, PartGraph
from qairt.runtime.stored import Array


class PartsModel:
    """A `TextModel` over chained parts, with calls of the largest AR and the device's KV cache layout."""

    is_concurrent = False
    read_fraction = 0.0

    def __init__(
        self,
        parts: Mapping[int, Sequence[PartGraph]],
        config: DecoderConfig,
        length: int,
        open_part: Opener | None = None,
        branches: Mapping[str, Array] | None = None,
    ) -> None:
        """
        Args:
            parts: by AR, the parts in order.
            length: of the longest sequence that it will read.
            open_part: opens a part; ONNX Runtime's CPU provider when None.
            branches: the LoRA branches' inputs as stored integers, by name; those of the base when None.

        Raises:
            GraphError: the parts do not fit together; names the graph.
        """
        largest = max(parts)
        whole_calls = -(-length // largest) * largest
        # Near the end of the context a large call may not fit; the smaller ARs then finish the sequence.
        fits = whole_calls <= next(iter(parts[largest])).signature.cl
        self._chain = PartChain(
            {largest: parts[largest]} if fits else parts,
            config,
            open_part,
            keep_open=True,
            branches=branches,
        )
        self._sequences: Sequence[Ids] = []

    def read(self, sequences: Sequence[Ids], done: Done) -> None:
        self._sequences = sequences

    def logits(self, index: int) -> Iterator[tuple[int, Tensor]]:
        self._chain.reset()
        start = 0
        for rows in self._chain.logits([int(token) for token in self._sequences[index]]):
            yield start, torch.from_numpy(rows)
            start += len(rows)

    def close(self) -> None:
        self._chain.close()
