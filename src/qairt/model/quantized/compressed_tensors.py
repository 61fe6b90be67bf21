"""compressed-tensors: integers of 1 to 8 bits in dense 32-bit words (pack-quantized), or a byte each (int-quantized).

Source: compressed_tensors/compressors/pack_quantized and naive_quantized, and `dequantize` of
compressed_tensors/quantization/lifecycle/forward.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.quantized.grid import GridWeight, block_told
from qairt.model.quantized.packed import Packed, in_groups, parts_of, rounded_to, unpack, words
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

SCHEME = "compressed-tensors"
_REQUIRED = ("packed", "scale", "shape")
_OPTIONAL = ("zero_point", "g_idx")


class PackQuantizedWeight(Packed):
    """`weight_packed` [out, words], `weight_scale` [out, groups], `weight_shape` [2]; with zero points, these packed
    down the outputs, or a byte each as early versions wrote them; `weight_g_idx` [in] where inputs were reordered."""

    def __init__(self, name: str, parts: Mapping[str, FileTensor], bits: int) -> None:
        self._weight, self._scales = parts["packed"], parts["scale"]
        self._zeros, self._order = parts.get("zero_point"), parts.get("g_idx")
        self.bits = bits
        shape = tuple(int(size) for size in parts["shape"].mapped())
        groups = self._scales.shape[1] if len(self._scales.shape) == 2 else 1
        told = block_told(shape, self._scales.shape)
        super().__init__(name, shape, list(parts.values()), Format(SCHEME, bits, told))
        outputs, inputs = (*shape, 0, 0)[:2]
        self.group = ceil(inputs / max(groups, 1))
        if (
            len(shape) != 2
            or self._weight.shape != (outputs, words(inputs, bits))
            or self._scales.shape not in ((outputs, groups), (1,), ())
            or groups != ceil(inputs / max(self.group, 1))
        ):
            raise self.fault(f"its integers or scales do not fit its shape {list(shape)}", self._weight.file)
        packed_zeros = (words(outputs, bits), groups)
        if self._zeros is not None and self._zeros.shape not in (packed_zeros, (outputs, groups)):
            raise self.fault("its zero points do not fit its scales", self._zeros.file)
        if self._order is not None and self._order.shape != (inputs,):
            raise self.fault(f"weight_g_idx has shape {list(self._order.shape)} for {inputs} inputs", self._order.file)

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        outputs = self.shape[0]
        integers = unpack(self._weight.mapped()[rows], self.bits, self.shape[1])
        scales = np.broadcast_to(self._scales.read().reshape(-1, self._groups), (outputs, self._groups))[rows]
        values = in_groups(integers, scales, self._zero_points(rows), self._group_of())
        return rounded_to(values, self._scales.dtype)

    @property
    def _groups(self) -> int:
        return self._scales.shape[1] if len(self._scales.shape) == 2 else 1

    def _zero_points(self, rows: slice) -> NDArray[Any] | int:
        middle = 1 << (self.bits - 1)
        if self._zeros is None:
            return middle
        if self._zeros.dtype == "I32":
            return unpack(self._zeros.mapped().T, self.bits, self.shape[0]).T[rows]
        import numpy as np

        return self._zeros.mapped()[rows].astype(np.int16) + np.int16(middle)

    def _group_of(self) -> NDArray[Any]:
        import numpy as np

        order = None if self._order is None else self._order.mapped()
        if order is None or (order < 0).all():  # -1: no order was recorded
            return np.arange(self.shape[1]) // max(self.group, 1)
        if order.min() < 0 or order.max() >= self._groups:
            raise self.fault(f"weight_g_idx names a group beyond the {self._groups} stored", self._weight.file)
        return order


def find_compressed(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[Packed]:
    """Every weight stored as integers; 8-bit floats are `qairt.model.quantized.fp8`'s."""
    _refuse_transforms(stated)
    for name, tensor in tensors.items():
        if name.endswith(".weight_packed"):
            prefix = name.removesuffix("packed")
            parts = parts_of(tensors, prefix, SCHEME, _REQUIRED, _OPTIONAL)
            yield PackQuantizedWeight(prefix.removesuffix("_"), parts, _bits(name, parts, stated))
        elif tensor.dtype == "I8" and name.endswith(".weight"):
            parts = parts_of(tensors, f"{name}_", SCHEME, ("scale",), ("zero_point",))
            told = block_told(tensor.shape, parts["scale"].shape)
            stored_as = Format(SCHEME, 8, told)
            yield GridWeight(name, tensor, parts["scale"], stored_as, zeros=parts.get("zero_point"), rounds=True)


def _bits(name: str, parts: Mapping[str, FileTensor], stated: Stated) -> int:
    """The one width, of those that the groups of the configuration state, that the packed shape has."""
    columns = int(parts["shape"].mapped()[-1]) if parts["shape"].shape == (2,) else 0
    groups = stated.settings.get("config_groups")
    weights = (
        [group.get("weights") for group in groups.values() if isinstance(group, dict)]
        if isinstance(groups, dict)
        else []
    )
    widths = {each.get("num_bits") for each in weights if isinstance(each, dict)} or set(range(1, 9))
    fitting = [
        width
        for width in sorted(bits for bits in widths if type(bits) is int and 1 <= bits <= 8)
        if parts["packed"].shape[-1:] == (words(columns, width),)
    ]
    if len(fitting) != 1:
        raise ModelError(
            f"{name} has shape {list(parts['packed'].shape)}: its bits cannot be told"
            + (f" (stated: {', '.join(map(str, sorted(map(str, widths))))})" if groups else ""),
            where=str(stated.where),
            remedy="use the config.json that was published with the weights",
        )
    return fitting[0]


def _refuse_transforms(stated: Stated) -> None:
    if stated.method == SCHEME and stated.settings.get("transform_config"):
        raise ModelError(
            "the weights belong to a model with rotations of its own (compressed-tensors: transform_config)",
            where=str(stated.where),
            remedy="use a checkpoint without transforms; a rotation can be chosen in the recipe",
        )
