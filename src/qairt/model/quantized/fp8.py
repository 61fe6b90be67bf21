"""FP8: weights of 8-bit floats with a scale per tensor, row or block of 128 x 128.

Source: `Fp8Dequantize` of transformers (integrations/finegrained_fp8.py); compressed-tensors' float-quantized format
stores the same tensors, its scale as `weight_scale`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qairt.errors import ModelError
from qairt.model.quantized.grid import GridWeight, block_told
from qairt.model.quantized.stated import Stated
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor

_TYPES = ("F8_E4M3", "F8_E5M2")
_SCALES = ("_scale_inv", "_scale")
"""Both multiply: `inv` is the inverse of what the weight was multiplied by."""


def find_fp8(tensors: Mapping[str, FileTensor], stated: Stated) -> Iterator[GridWeight]:
    """Every weight stored so.

    Raises:
        ModelError: a weight without a scale.
    """
    rounds, block = stated.method == "compressed-tensors", _block(stated)
    for name, weight in tensors.items():
        if weight.dtype not in _TYPES or not name.endswith(".weight"):
            continue
        scales = next((tensors[name + end] for end in _SCALES if name + end in tensors), None)
        if scales is None:
            raise ModelError(
                f"{name} is stored as {weight.dtype} without {name}_scale or {name}_scale_inv",
                where=str(weight.file),
                remedy="download the whole model again, or use the float model it was made from",
            )
        told = f"blocks of {block[0]} x {block[1]}" if block else block_told(weight.shape, scales.shape)
        yield GridWeight(name, weight, scales, Format("FP8", 8, told), block=block, rounds=rounds)


def _block(stated: Stated) -> list[int] | None:
    block = stated.settings.get("weight_block_size")
    if isinstance(block, list) and len(block) == 2 and all(type(size) is int and size > 0 for size in block):
        return [int(str(size)) for size in block]
    return None
