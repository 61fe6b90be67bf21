"""Records the reference vectors of a chunk in one stream while it is calibrated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.kept import kept_names
from qairt.model.names import hidden_name, output_name, token_axis
from qairt.quant.measure.calibration import Calibration
from qairt.quant.measure.deferred import QUANTIZED
from qairt.quant.measure.reference_vectors import LOGIT_VALUES, TOKENS, ReferenceVectors


class Recorder:
    """Keeps the outputs of each block for the first tokens of a chunk, in one stream."""

    def __init__(self, calibration: Calibration, stream: int, chunk: int = 0) -> None:
        ids = calibration.chunks[chunk][:TOKENS]
        self._calibration = calibration
        self._stream = stream
        self._chunk = chunk
        self._tokens = len(ids)
        kept = min(max(LOGIT_VALUES // calibration.config.vocab_size, 1), self._tokens)
        self.logits = slice(self._tokens - kept, self._tokens)
        """Positions of the chunk whose logits are recorded."""
        self._tensors: dict[str, NDArray[np.generic]] = {"input_ids": np.asarray(ids, np.int32)}

    def after_embedding(self) -> None:
        """Record the embedding's output."""
        self._tensors[hidden_name(0)] = self._hidden()[:, : self._tokens].cpu().contiguous().numpy()

    def after_block(self, layer: int) -> dict[str, Tensor]:
        """Record the block's outputs; returns them by name."""
        kept = {hidden_name(layer + 1): self._hidden()[:, : self._tokens]}
        latest = self._calibration.latest[self._stream, self._chunk]
        for (_, name), value in zip(kept_names(self._calibration.config, layer), latest, strict=True):
            kept[name] = value.narrow(token_axis(name), 0, self._tokens)
        named = {f"{self._prefix}{name}": value.cpu().contiguous() for name, value in kept.items()}
        self.restore(named)
        return named

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Take over what `after_block` returned; other streams' tensors are ignored."""
        for name, value in kept.items():
            if name.startswith(self._prefix):
                self._tensors[name.removeprefix(self._prefix)] = value.numpy()

    def vectors(self, result: Tensor, branches: Mapping[str, NDArray[np.float32]] | None = None) -> ReferenceVectors:
        """Everything recorded, with these logits or this vector, and the values of the LoRA branches' inputs that it
        ran with."""
        name = output_name(self._calibration.config)
        return ReferenceVectors(self._tensors | {name: result.cpu().numpy()} | dict(branches or {}))

    def _hidden(self) -> Tensor:
        streams = self._calibration
        hidden = (streams.quantized or streams.hidden) if self._stream == QUANTIZED else streams.hidden
        return hidden[self._chunk]

    @property
    def _prefix(self) -> str:
        return f"chunk {self._chunk} stream {self._stream} " if self._chunk else f"stream {self._stream} "
