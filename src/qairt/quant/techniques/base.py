"""What every weight technique gets and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from qairt.quant.encodings import Encoding

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from torch import Tensor

    from qairt.quant.measure.gram import Gram
    from qairt.quant.techniques.learned import OnGrid


Needs = Literal["weights", "energy", "inputs"]
"""What a technique reads: only the weights; how much each input matters (`qairt.quant.measure.energy`); the inputs that
the quantized layers before it produce (`qairt.quant.measure.gram`)."""


@dataclass(frozen=True)
class Chosen:
    """What became of a weight."""

    encoding: Encoding
    values: Tensor | None = None
    """[in, out] on the grid; None for those nearest to the stored ones, where nobody asked for them yet."""
    error: float | None = None
    """The share of the output's energy that is lost; None where the technique does not look at outputs."""
    place: OnGrid | None = None
    """To go on learning from."""


class WeightTechnique(Protocol):
    """Quantizes the linears of a layer, one after the other."""

    needs: Needs

    def choose(self, name: str, weight: Tensor, *, energy: Tensor | None, gram: Gram | None, pool: Executor) -> Chosen:
        """The encoding of `weight` [in, out], channels on axis 1, and its values.

        Args:
            energy: [in], mean 1; None where it was not asked for.
            gram: of its inputs; None where it was not asked for.
            pool: for work side by side; the result does not depend on its size.

        Raises:
            QuantizationError: it cannot be put on such a grid; names the weight.
        """
