"""MLX: dense unsigned integers times a scale, plus a bias, per group of inputs; also its MX modes.

Source: `mlx.core.quantize` and `dequantize` (python/src/ops.cpp, mlx/backend/cpu/quantized.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.quantized.grid import float8
from qairt.model.quantized.packed import FP4, Packed, exponents, parts_of, rounded_to, unpack
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODES = {"affine": None, "mxfp4": (32, 4), "mxfp8": (32, 8)}
"""Mode -> its group size and bits, where they are fixed."""


class MlxWeight(Packed):
    """`weight` U32 [out, in x bits / 32], `scales` [out, groups], and `biases` like them for integers."""

    def __init__(self, name: str, parts: Mapping[str, FileTensor], mode: str, group: int) -> None:
        self._weight, self._scales, self._biases = parts["weight"], parts["scales"], parts.get("biases")
        self.mode, self.group = mode, group
        outputs, packed = (*self._weight.shape, 0, 0)[:2]
        groups = self._scales.shape[-1] if self._scales.shape else 0
        inputs = groups * group
        self.bits = packed * 32 // max(inputs, 1)
        told = f"groups of {group}" if mode == "affine" else f"{mode}, groups of {group}"
        super().__init__(name, (outputs, inputs), list(parts.values()), Format("MLX", self.bits, told))
        fits = packed * 32 == inputs * self.bits and self._scales.shape == (outputs, groups)
        wrong_bits = not 1 <= self.bits <= 8 if mode == "affine" else (group, self.bits) != _MODES[mode]
        if not fits or wrong_bits or (self._biases is not None and self._biases.shape != self._scales.shape):
            raise self.fault(f"its scales or biases do not fit groups of {group}", self._weight.file)

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        integers = unpack(self._weight.mapped()[rows], self.bits, self.shape[1])
        group_of = np.arange(self.shape[1]) // self.group
        if self._biases is None:
            table = np.asarray(FP4, np.float32) if self.bits == 4 else float8("F8_E4M3")
            return table[integers] * exponents(self._scales.mapped()[rows])[:, group_of]
        values = integers.astype(np.float32)
        values *= self._scales.read(rows)[:, group_of]
        values += self._biases.read(rows)[:, group_of]
        return rounded_to(values, self._scales.dtype)


def find_mlx(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[MlxWeight]:
    """Every weight stored so.

    Raises:
        ModelError: the configuration states no group size, or a mode that is not supported.
    """
    for name, tensor in tensors.items():
        if tensor.dtype != "U32" or not name.endswith(".weight"):
            continue
        module = name.removesuffix(".weight")
        own = stated.settings.get(module, stated.settings.get(module.removeprefix("model.")))
        settings = Stated(stated.where, {**stated.settings, **(own if isinstance(own, dict) else {})}, stated.method)
        mode, group = settings.text("mode", "affine"), settings.integer("group_size")
        if mode not in _MODES:
            raise ModelError(
                f"{name}: MLX weights in mode {mode} are not supported",
                where=str(stated.where),
                remedy=f"convert the float model with one of the modes {', '.join(_MODES)}",
            )
        if not group or group < 1:
            raise ModelError(
                f"{name} (MLX): no group_size is stated",
                where=str(stated.where),
                remedy="use the config.json that was published with the weights",
            )
        required = ("weight", "scales", "biases") if mode == "affine" else ("weight", "scales")
        yield MlxWeight(name, parts_of(tensors, f"{module}.", "MLX", required), mode, group)
