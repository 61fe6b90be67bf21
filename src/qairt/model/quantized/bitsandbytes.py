"""bitsandbytes: 4 bits by a table of 16 values (nf4, fp4), their scales perhaps quantized again; 8 bits per row.

Source: `QuantState` and `dequantize_4bit` of bitsandbytes (functional.py, backends/default/ops.py),
`dequantize_bnb_weight` of transformers (integrations/bitsandbytes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil, prod
from typing import TYPE_CHECKING, Any

from qairt.errors import ModelError
from qairt.files import parse_json
from qairt.model.quantized.packed import Packed, parts_of, rounded_to
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STATE = ".quant_state.bitsandbytes__"
_ROUNDED = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
_ROW = 0
"""`weight_format` of plain rows; the others are tiles for one kind of GPU."""


class FourBitWeight(Packed):
    """`weight`: two values a byte, the first in the high half, over the flat matrix; `absmax` per block of them."""

    def __init__(self, name: str, parts: Mapping[str, FileTensor], state: Mapping[str, Any], kind: str) -> None:
        self._weight, self._absmax, self._table = parts[""], parts[".absmax"], parts[".quant_map"]
        self._nested = [parts[part] for part in (".nested_absmax", ".nested_quant_map") if part in parts]
        self._block, self._nested_block = int(state["blocksize"]), int(state.get("nested_blocksize") or 1)
        self._offset = float(state.get("nested_offset") or 0)
        self._dtype = _ROUNDED[state["dtype"]]
        shape = tuple(int(size) for size in state["shape"])
        super().__init__(
            name, shape, list(parts.values()), Format(f"bitsandbytes {kind}", 4, f"blocks of {self._block}")
        )
        blocks = ceil(prod(shape) / self._block)
        nested = "nested_blocksize" in state
        if (
            self._weight.nbytes != ceil(prod(shape) / 2)
            or prod(self._absmax.shape) != blocks
            or self._table.shape != (16,)
            or (nested and (len(self._nested) < 2 or prod(self._nested[0].shape) != ceil(blocks / self._nested_block)))
        ):
            raise self.fault(f"its tensors do not fit its shape {list(shape)}", self._weight.file)

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        width = prod(self.shape[1:])
        first, last = rows.start * width, rows.stop * width
        stored = self._weight.mapped().reshape(-1).view(np.uint8)[first // 2 : ceil(last / 2)]
        nibbles = np.stack([stored >> 4, stored & 15], axis=-1).reshape(-1)[first % 2 : first % 2 + last - first]
        values = self._table.read()[nibbles]
        values *= self._scales(first // self._block, ceil(last / self._block))[
            np.arange(first, last) // self._block - first // self._block
        ]
        return rounded_to(values, self._dtype).reshape(-1, *self.shape[1:])[:: rows.step]

    def _scales(self, first: int, last: int) -> NDArray[np.float32]:
        """Those of some blocks."""
        import numpy as np

        if not self._nested:
            return self._absmax.read().reshape(-1)[first:last]
        absmax, table = self._nested
        inner = absmax.read().reshape(-1)[np.arange(first, last) // self._nested_block]
        outer: NDArray[np.float32] = table.read()[self._absmax.mapped().reshape(-1)[first:last]]
        return outer * inner + np.float32(self._offset)


class EightBitWeight(Packed):
    """`weight` int8 [out, in], `SCB` [out]: the largest magnitude of each row, which is 127 of the integers."""

    def __init__(self, name: str, parts: Mapping[str, FileTensor]) -> None:
        self._weight, self._largest = parts["weight"], parts["SCB"]
        super().__init__(name, self._weight.shape, list(parts.values()), Format("bitsandbytes", 8, "per channel"))
        layout = parts.get("weight_format")
        if layout is not None and layout.mapped().reshape(-1)[:1].tolist() not in ([_ROW], []):
            raise ModelError(
                f"{name} (bitsandbytes, 8 bits) is stored in tiles for one kind of GPU",
                where=str(layout.file),
                remedy="save it again with bitsandbytes 0.42 or newer",
            )
        if len(self.shape) != 2 or prod(self._largest.shape) != self.shape[0]:
            raise self.fault(f"SCB has shape {list(self._largest.shape)}", self._largest.file)

    def band(self, rows: slice) -> NDArray[np.float32]:
        import numpy as np

        values = self._weight.mapped()[rows].astype(np.float32)
        values *= self._largest.read().reshape(-1, 1)[rows]
        values *= np.float32(7.874015718698502e-3)  # 1/127, the constant of bitsandbytes
        return values


def find_bitsandbytes(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[Packed]:
    """Every weight stored so."""
    for name in tensors:
        weight, _, kind = name.partition(_STATE)
        if kind:
            yield _four_bits(tensors, weight, kind)
        elif name.endswith(".SCB"):
            module = name.removesuffix("SCB")
            parts = parts_of(tensors, module, "bitsandbytes, 8 bits", ("weight", "SCB"), ("weight_format",))
            yield EightBitWeight(f"{module}weight", parts)


def _four_bits(tensors: Mapping[str, FileTensor], weight: str, kind: str) -> FourBitWeight:
    state_part = f"{_STATE}{kind}"
    required = ("", ".absmax", ".quant_map", state_part)
    parts = parts_of(tensors, weight, f"bitsandbytes {kind}", required, (".nested_absmax", ".nested_quant_map"))
    stored = parts[state_part]
    try:
        state = parse_json(stored.mapped().tobytes())
        return FourBitWeight(weight, parts, state, kind)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{stored.name} is not a valid quantization state",
            where=str(stored.file),
            remedy="download the whole model again",
        ) from error
