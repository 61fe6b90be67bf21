"""MXFP4 experts of GPT-OSS: 4-bit floats in blocks of 32, each with a power of two.

Source: `convert_moe_packed_tensors` of transformers (integrations/mxfp4.py); the OCP Microscaling Formats (MX)
specification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qairt.model.quantized.packed import FP4, Packed, exponents, parts_of
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BYTES = 16
"""Of a block: 32 values, the even ones in the low halves."""


class Mxfp4Experts(Packed):
    """`{name}_blocks` [experts, out, in / 32, 16], `{name}_scales` [experts, out, in / 32]; read as transformers names
    them, [experts, in, out], one expert at a time."""

    def __init__(self, name: str, parts: Mapping[str, FileTensor]) -> None:
        self._blocks, self._scales = parts["_blocks"], parts["_scales"]
        experts, outputs, groups, size = (*self._blocks.shape, 0, 0, 0, 0)[:4]
        shape = experts, 2 * _BYTES * groups, outputs
        super().__init__(name, shape, list(parts.values()), Format("MXFP4", 4, "blocks of 32"))
        if len(self._blocks.shape) != 4 or size != _BYTES or self._scales.shape != (experts, outputs, groups):
            raise self.fault(
                f"blocks {list(self._blocks.shape)} and scales {list(self._scales.shape)} do not fit", self._blocks.file
            )

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        blocks = self._blocks.mapped()[rows]
        values = np.asarray(FP4, np.float32)[np.stack([blocks & 15, blocks >> 4], axis=-1)]
        values *= exponents(self._scales.mapped()[rows])[..., None, None]
        return values.reshape(*blocks.shape[:2], self.shape[1]).swapaxes(1, 2)


def find_mxfp4(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[Mxfp4Experts]:
    """Every stack of experts stored so."""
    for name in [name.removesuffix("_blocks") for name in tensors if name.endswith("_blocks")]:
        yield Mxfp4Experts(name, parts_of(tensors, name, "MXFP4", ("_blocks", "_scales")))
