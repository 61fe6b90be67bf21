"""Perplexity growth on held-out text, the criterion of `auto_precision`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qairt.model.parameters import Parameters
    from qairt.quant.encodings import Encodings
    from qairt.quant.quantize_model import QuantizationResult

CHUNKS = 12
"""Text chunks that perplexity is measured on."""


class PerplexityGrowth:
    """Perplexity with quantized weights relative to float weights; activations are float in both."""

    def __init__(
        self,
        parameters: Parameters,
        text: Callable[[int], Sequence[NDArray[np.int64]]],
        *,
        threads: int,
        device: str,
    ) -> None:
        """
        Args:
            parameters: of the float model, with the same rotation as the quantized one.
            text: returns at most the given number of chunks of token ids.
        """
        self._parameters = parameters
        self._text = text
        self._threads = threads
        self._device = device

    def of(self, result: QuantizationResult) -> float:
        """As a fraction: 0.05 means 5 % higher."""
        from qairt.quant.encodings import Encodings

        changed = self._parameters.changed_by(result.overlay)
        return self._perplexity(changed, Encodings(params=result.encodings.params)) / self._float - 1

    @cached_property
    def _float(self) -> float:
        from qairt.quant.encodings import Encodings

        return self._perplexity(self._parameters, Encodings())

    def _perplexity(self, parameters: Parameters, encodings: Encodings) -> float:
        from qairt.evaluate.perplexity import perplexity

        return perplexity(parameters, encodings, self._text(CHUNKS), threads=self._threads, device=self._device)
