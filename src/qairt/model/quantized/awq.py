"""AWQ, as AutoAWQ's GEMM version writes it: 4-bit integers packed along the outputs, eight in an order of their own.

Source: `dequantize_gemm` of AutoAWQ (awq/utils/packing_utils.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.quantized.packed import Packed, in_groups, parts_of, rounded_to, unpack
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

_PLACE = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where each of eight outputs lies in its word."""
_PARTS = ("qweight", "scales", "qzeros")


class AwqWeight(Packed):
    """`qweight` [in, out / 8], `scales` [groups, out], `qzeros` [groups, out / 8]; a zero point is stored as it is."""

    def __init__(self, name: str, parts: Mapping[str, FileTensor], stated: Stated) -> None:
        self._weight, self._scales, self._zeros = (parts[part] for part in _PARTS)
        inputs, outputs = self._weight.shape[0], self._weight.shape[1] * 8
        groups = self._scales.shape[0]
        size = stated.integer("group_size") or -1
        self.group = size if size > 0 and ceil(inputs / size) == groups else ceil(inputs / max(groups, 1))
        super().__init__(name, (outputs, inputs), list(parts.values()), Format("AWQ", 4, f"groups of {self.group}"))
        fits = self._scales.shape == (groups, outputs) and self._zeros.shape == (groups, outputs // 8)
        if not fits or groups != ceil(inputs / self.group):
            raise self.fault("its scales or zero points do not fit its integers", self._weight.file)

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        first, last = rows.start // 8, ceil(rows.stop / 8)
        inside = slice(rows.start - 8 * first, rows.stop - 8 * first, rows.step)
        integers = _outputs(self._weight.mapped()[:, first:last])[:, inside].T
        zeros = _outputs(self._zeros.mapped()[:, first:last])[:, inside].T
        group_of = np.arange(self.shape[1]) // self.group
        values = in_groups(integers, self._scales.read()[:, rows].T, zeros, group_of)
        return rounded_to(values, self._scales.dtype)


def find_awq(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[AwqWeight]:
    """Every weight stored so.

    Raises:
        ModelError: AutoAWQ's other versions.
    """
    version, bits = stated.text("version", "gemm").lower(), stated.integer("bits") or stated.integer("w_bit") or 4
    if stated.text("backend", "autoawq") == "llm-awq":
        version += " of llm-awq"
    if version != "gemm" or bits != 4:
        raise ModelError(
            f"AWQ weights of {bits} bits in version {version} are not supported",
            where=str(stated.where),
            remedy="use a checkpoint of 4 bits in AutoAWQ's GEMM version",
        )
    for module in [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]:
        parts = parts_of(tensors, f"{module}.", "AWQ", _PARTS)
        yield AwqWeight(f"{module}.weight", parts, stated)


def _outputs(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """[rows, words] -> [rows, outputs]."""
    rows, words = packed.shape
    nibbles = unpack(packed, 4, words * 8).reshape(rows, words, 8)
    return nibbles[:, :, _PLACE].reshape(rows, words * 8)
