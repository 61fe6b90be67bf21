"""What `auto_precision` needs of the stage: text to measure on, and how much perplexity grew there."""

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
"""That perplexity is measured on."""


class Growth:
    """Perplexity of quantized weights over that of the float ones, the rest of the model being float."""

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
            parameters: the float model's, rotated where the quantized ones are.
            text: gives up to so many chunks of token ids, each of one sequence.
        """
        self._parameters = parameters
        self._text = text
        self._threads = threads
        self._device = device

    def of(self, result: QuantizationResult) -> float:
        """As a fraction: 0.05 is 5 % more."""
        from qairt.quant.encodings import Encodings

        changed = self._parameters.changed_by(result.overlay)
        return self._measured(changed, Encodings(params=result.encodings.params)) / self._float - 1

    @cached_property
    def _float(self) -> float:
        from qairt.quant.encodings import Encodings

        return self._measured(self._parameters, Encodings())

    def _measured(self, parameters: Parameters, encodings: Encodings) -> float:
        from qairt.evaluate.perplexity import perplexity

        return perplexity(parameters, encodings, self._text(CHUNKS), threads=self._threads, device=self._device)
