"""GPTQ, as AutoGPTQ and GPTQModel write it: integers packed down the inputs, groups in any order.

Source: `QuantLinear.pack` and `forward` of AutoGPTQ (auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py); the two formats
of zero points in GPTQModel (gptqmodel/utils/model.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.quantized.packed import Packed, in_groups, parts_of, rounded_to, unpack, words
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

_BITS = (2, 3, 4, 8)
_ZERO_OFFSET = {"gptq": 1, "gptq_v2": 0}
"""Checkpoint format -> what is added to a stored zero point."""


_PARTS = ("qweight", "scales", "qzeros", "g_idx")


class GptqWeight(Packed):
    """`qweight` [in x bits / 32, out], `scales` [groups, out], `qzeros` [groups, out x bits / 32], `g_idx` [in].

    1. Without `qzeros` the grid is symmetric: its zero is the middle.
    2. With `g_idx` (act-order) the inputs of a group lie anywhere.
    """

    def __init__(self, name: str, parts: Mapping[str, FileTensor], stated: Stated) -> None:
        weight, scales = parts["qweight"], parts["scales"]
        self._zero_offset = _zero_offset(stated)
        self._weight, self._scales = weight, scales
        self._zeros, self._order = parts.get("qzeros"), parts.get("g_idx")
        outputs = weight.shape[-1]
        self.bits = self._find_bits(name, stated)
        inputs = weight.shape[0] * 32 // self.bits
        groups = scales.shape[0]
        size = stated.integer("group_size") or -1
        self.group = size if size > 0 and ceil(inputs / size) == groups else ceil(inputs / max(groups, 1))
        told = "one group" if groups == 1 else f"groups of {self.group}"
        super().__init__(name, (outputs, inputs), list(parts.values()), Format("GPTQ", self.bits, told))
        zeros = (groups, words(outputs, self.bits))
        fits = scales.shape == (groups, outputs) and groups == ceil(inputs / self.group)
        if not fits or (self._zeros is not None and self._zeros.shape != zeros):
            raise self.fault(f"its scales {list(scales.shape)} or zero points do not fit its integers", weight.file)
        if self._order is not None and self._order.shape != (inputs,):
            raise self.fault(f"g_idx has shape {list(self._order.shape)} for {inputs} inputs", weight.file)

    def band(self, rows: slice) -> NDArray[np.float32]:
        integers, zeros = self.integers(rows)
        scales = self._scales.read()[:, rows].T
        return rounded_to(in_groups(integers, scales, zeros, self.group_of()), self._scales.dtype)

    def integers(self, rows: slice) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | int]:
        """Unsigned integers [rows, in], and zero points [rows, groups] or one for all."""
        import numpy as np

        outputs, inputs = self.shape
        integers = unpack(self._weight.mapped()[:, rows].T, self.bits, inputs)
        if self._zeros is None:
            return integers, 1 << (self.bits - 1)
        zeros = unpack(self._zeros.mapped(), self.bits, outputs)[:, rows].T
        # In the width of the stored field: AutoGPTQ wrote a zero point of 0 as -1.
        return integers, (zeros + np.uint8(self._zero_offset)) & np.uint8((1 << self.bits) - 1)

    def group_of(self) -> NDArray[Any]:
        """[in], the group of each input."""
        import numpy as np

        if self._order is None:
            return np.arange(self.shape[1]) // self.group
        order = self._order.mapped()
        if order.size and not 0 <= order.min() <= order.max() < self._scales.shape[0]:
            raise self.fault(f"g_idx names a group beyond the {self._scales.shape[0]} stored", self._order.file)
        return order

    def _find_bits(self, name: str, stated: Stated) -> int:
        """The tensors' shapes tell, where `g_idx` or `qzeros` is stored; else the configuration."""
        rows, outputs = self._weight.shape
        bits = stated.integer("bits") or 0
        if self._order is not None and self._order.shape[0]:
            bits = 32 * rows // self._order.shape[0]
        elif self._zeros is not None and outputs % 32 == 0 and outputs:
            bits = 32 * self._zeros.shape[1] // outputs
        if bits not in _BITS:
            what = f"{bits} bits are not supported" if bits else "no file states its bits"
            raise ModelError(
                f"{name} (GPTQ): {what}",
                where=str(stated.where),
                remedy=f"use a checkpoint of {', '.join(map(str, _BITS))} bits, with its quantization_config",
            )
        return bits


def find_gptq(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[GptqWeight]:
    """Every weight stored so."""
    for module in [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]:
        parts = parts_of(tensors, f"{module}.", "GPTQ", _PARTS[:2], _PARTS[2:])
        yield GptqWeight(f"{module}.weight", parts, stated)


def _zero_offset(stated: Stated) -> int:
    kind = stated.text("checkpoint_format", "gptq")
    if stated.settings.get("is_marlin_format"):
        kind = "marlin"
    if kind not in _ZERO_OFFSET:
        raise ModelError(
            f"GPTQ weights in {kind} format are not supported",
            where=str(stated.where),
            remedy=f"use a checkpoint in one of the formats {', '.join(_ZERO_OFFSET)}",
        )
    return _ZERO_OFFSET[kind]
