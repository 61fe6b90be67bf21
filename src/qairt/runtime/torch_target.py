"""The float32 model on torch as a `Generator`: the reference for the quantized graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qairt.runtime.generator import Logits, require_known, require_room

if TYPE_CHECKING:
    from qairt.model.reference import Reference


class TorchGenerator:
    """`qairt.model.reference.Reference` within a context length; it should be one that keeps its weights.

    Args:
        sequence_length: tokens per call while a prompt is read; all at once when None.
    """

    def __init__(self, reference: Reference, context_length: int, sequence_length: int | None = None) -> None:
        self.context_length = context_length
        self.load_s = 0.0
        self._reference = reference
        self._sequence_length = sequence_length

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self._reference.length

    @property
    def room(self) -> int:
        return self.context_length - self.length

    def prefill(self, ids: Sequence[int]) -> Logits:
        require_room(len(ids), self.room, self.context_length)
        require_known(ids, self._reference.config.vocab_size)
        step = self._sequence_length or len(ids)
        calls = [self._reference.prefill(ids[start : start + step]) for start in range(0, len(ids), step)]
        return calls[-1]

    def decode(self, token: int) -> Logits:
        return self.prefill([token])

    def reset(self) -> None:
        self._reference.reset()

    def close(self) -> None:
        self._reference.reset()
        self._reference.release()
