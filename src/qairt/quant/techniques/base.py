"""The interface of weight techniques."""

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
"""What a technique reads besides the weights: nothing; how much each input matters (`qairt.quant.measure.energy`); the
inputs that the quantized layers before it produce (`qairt.quant.measure.gram`)."""


@dataclass(frozen=True)
class WeightChoice:
    """The grid of a weight, and its values there."""

    encoding: Encoding
    values: Tensor | None = None
    """[in, out] on the grid; None for those nearest to the stored ones, not computed yet."""
    error: float | None = None
    """The share of the output's energy that is lost; None if the technique does not measure outputs."""
    learnable: OnGrid | None = None
    """Set if the rounding is to be learned further."""


class WeightTechnique(Protocol):
    """Quantizes the linears of a layer, one after the other."""

    needs: Needs

    def choose(
        self,
        name: str,
        weight: Tensor,
        *,
        energy: Tensor | None,
        gram: Gram | None,
        channel: Tensor | None = None,
        pool: Executor,
    ) -> WeightChoice:
        """The encoding of `weight` [in, out], channels on axis 1, and its values.

        Args:
            energy: [in], mean 1; None unless the technique needs it, and for an expert that no token is given to.
            gram: that of its inputs; None in the same cases.
            channel: scales of the channels [out] that others share, from `channel_scale`; None to choose them.
            pool: runs parts of the work in parallel; the result does not depend on its size.

        Raises:
            QuantizationError: the weight does not fit such a grid; names it.
        """

    def channel_scale(self, weight: Tensor) -> Tensor:
        """The smallest scales of the channels [out] with which no value of `weight` is clipped."""
