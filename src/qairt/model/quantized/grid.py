"""8-bit weights with a scale per tensor, row, group or block: the arithmetic that FP8 and int8 checkpoints share."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import TYPE_CHECKING

from qairt.model.quantized.packed import Packed, exponents, rounded_to
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray


class GridWeight(Packed):
    """`weight` [out, in] of 8-bit floats or integers, times a scale per block of rows and columns.

    1. Scales [a, b] divide the weight into a x b equal blocks, as transformers has it; where it states a block size
       that needs as many blocks, the last ones may be smaller.
    2. One scale is the whole tensor's; [out] and [out, 1] are the rows'.
    3. Scales of U8 or E8M0 are powers of two.
    """

    def __init__(
        self,
        name: str,
        weight: FileTensor,
        scales: FileTensor,
        stored_as: Format,
        *,
        zeros: FileTensor | None = None,
        block: Sequence[int] | None = None,
        rounds: bool = False,
    ) -> None:
        """
        Args:
            block: [rows, columns] that the configuration states.
            rounds: to the scales' type, as the format's own code computes.
        """
        parts = [part for part in (weight, scales, zeros) if part is not None]
        super().__init__(name, weight.shape, parts, stored_as)
        self._weight, self._scales, self._zeros, self._rounds = weight, scales, zeros, rounds
        self._grid, self._block = self._blocks(block)

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        down = np.arange(self.shape[0])[rows] // self._block[0]
        across = np.arange(self.shape[1]) // self._block[1]
        values = _values(self._weight, rows)
        if self._zeros is not None:
            values -= self._on_grid(self._zeros.mapped().astype(np.float32))[down][:, across]
        values *= self._on_grid(_scales(self._scales))[down][:, across]
        return rounded_to(values, self._scales.dtype) if self._rounds else values

    def _on_grid(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.reshape(self._grid)

    def _blocks(self, stated: Sequence[int] | None) -> tuple[tuple[int, int], tuple[int, int]]:
        """The grid of scales, and the rows and columns of a block."""
        shape = self._scales.shape
        if len(self.shape) != 2:
            raise self.fault(f"a weight of shape {list(self.shape)} with scales", self._weight.file)
        rows, columns = self.shape
        grid = shape if len(shape) == 2 else (shape[0] if shape else 1, 1)
        down, across = grid
        if stated and (down, across) == (ceil(rows / stated[0]), ceil(columns / stated[1])):
            return (down, across), (stated[0], stated[1])
        if len(shape) > 2 or 0 in grid or rows % down or columns % across or (len(shape) < 2 and down not in (1, rows)):
            raise self.fault(
                f"scales of shape {list(shape)} do not divide a weight of shape {list(self.shape)}", self._scales.file
            )
        if self._zeros is not None and self._zeros.shape != shape:
            raise self.fault(
                f"zero points of shape {list(self._zeros.shape)} for scales of shape {list(shape)}", self._zeros.file
            )
        return (down, across), (rows // down, columns // across)


def block_told(shape: Sequence[int], scales: Sequence[int]) -> str:
    """What a scale covers, in words.

    Args:
        shape: of the weight.
        scales: the shape of its scales.
    """
    if prod(scales) == 1:
        return "per tensor"
    if prod(scales) == shape[0]:
        return "per channel"
    if len(scales) == 2 and len(shape) == 2 and scales[0] in (1, shape[0]) and scales[1]:
        return f"groups of {shape[1] // scales[1]}"
    return "in blocks"


def _values(weight: FileTensor, rows: slice) -> NDArray[np.float32]:
    import numpy as np

    stored = weight.mapped()[rows]
    values: NDArray[np.float32] = stored.astype(np.float32) if weight.dtype == "I8" else float8(weight.dtype)[stored]
    return values


def float8(dtype: str) -> NDArray[np.float32]:
    """The value of each byte."""
    import ml_dtypes
    import numpy as np

    kind: Any = ml_dtypes.float8_e4m3fn if dtype == "F8_E4M3" else ml_dtypes.float8_e5m2
    values: NDArray[np.float32] = np.arange(256, dtype=np.uint8).view(kind).astype(np.float32)
    return values


def _scales(scales: FileTensor) -> NDArray[np.float32]:
    return exponents(scales.mapped()) if scales.dtype in ("U8", "F8_E8M0") else scales.read()
