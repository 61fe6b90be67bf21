"""A weight that is packed into several tensors, and the pieces that formats share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import ModelError
from qairt.model.storage import Format
from qairt.model.stored_tensor import FileTensor
from qairt.model.weights import ALL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BAND = 1 << 22
"""Values unpacked together, so that the temporaries of a large matrix stay small."""


class Packed(ABC):
    """A `StoredTensor`: a weight [out, in] as the numbers that it stands for."""

    def __init__(self, name: str, shape: tuple[int, ...], parts: Sequence[FileTensor], stored_as: Format) -> None:
        """
        Args:
            name: of the weight.
            parts: the tensors of the file that hold it.
        """
        self.name = name
        self.shape = shape
        self.parts = tuple(parts)
        self.stored_as = stored_as

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    @property
    def files(self) -> Sequence[Path]:
        return tuple({part.file: None for part in self.parts})

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        import numpy as np

        chosen = range(self.shape[0])[rows]
        values = np.empty((len(chosen), *self.shape[1:]), np.float32)
        step = max(1, _BAND // max(1, prod(self.shape[1:])))
        for at in range(0, len(chosen), step):
            band = chosen[at : at + step]
            values[at : at + len(band)] = self.band(slice(band[0], band[-1] + 1, band.step))
        return values

    @abstractmethod
    def band(self, rows: slice) -> NDArray[np.float32]:
        """Some rows [rows, ...]; `rows` lies within the shape."""

    def fault(self, what: str, where: Path) -> ModelError:
        """The error for packed tensors that do not fit together."""
        return ModelError(f"{self.name} ({self.stored_as.scheme}): {what}", where=str(where), remedy=DAMAGED)


DAMAGED = "download the whole model again, with the config.json that was published with it"


def parts_of(
    tensors: Mapping[str, FileTensor], prefix: str, scheme: str, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, FileTensor]:
    """The tensors `{prefix}{part}` of one weight, by part.

    Raises:
        ModelError: one of the required is missing.
    """
    found = {part: tensors[prefix + part] for part in (*required, *optional) if prefix + part in tensors}
    for part in required:
        if part not in found:
            stored = next(iter(found.values()))
            raise ModelError(
                f"{prefix}{part} is missing beside {stored.name} ({scheme})", where=str(stored.file), remedy=DAMAGED
            )
    return found


def unpack(stored: NDArray[Any], bits: int, count: int) -> NDArray[np.uint8]:
    """Integers of 1 to 8 bits from a dense stream, lowest bits first; they may cross words.

    Args:
        stored: [..., words] of any little-endian integers.
        count: values in the last axis.

    Returns:
        [..., count].
    """
    import numpy as np

    stream = np.ascontiguousarray(stored).view(np.uint8)
    eights = ceil(count / 8)
    short = eights * bits - stream.shape[-1]
    if short > 0:
        stream = np.concatenate([stream, np.zeros((*stream.shape[:-1], short), np.uint8)], axis=-1)
    groups = stream[..., : eights * bits].reshape(*stream.shape[:-1], eights, bits)
    values = np.empty((*groups.shape[:-1], 8), np.uint8)
    for at in range(8):
        byte, shift = divmod(at * bits, 8)
        value = groups[..., byte] >> np.uint8(shift)
        if shift + bits > 8:
            value |= groups[..., byte + 1] << np.uint8(8 - shift)
        values[..., at] = value & np.uint8((1 << bits) - 1)
    return values.reshape(*stream.shape[:-1], eights * 8)[..., :count]


def in_groups(
    integers: NDArray[Any], scales: NDArray[np.float32], zeros: NDArray[Any] | int, group_of: NDArray[Any]
) -> NDArray[np.float32]:
    """(integer - zero point) x scale.

    Args:
        integers: [rows, in].
        scales: [rows, groups].
        zeros: the same, or one for all.
        group_of: [in], the group of each input.
    """
    import numpy as np

    values = integers.astype(np.float32)
    values -= zeros if isinstance(zeros, int) else zeros.astype(np.float32)[:, group_of]
    values *= scales[:, group_of]
    return values


def words(count: int, bits: int) -> int:
    """32-bit words that a dense stream of `count` values takes."""
    return ceil(count * bits / 32)


def exponents(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """E8M0: powers of two, 127 is one."""
    import numpy as np

    return np.exp2(stored.astype(np.float32) - 127)


def rounded_to(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    """To the nearest of a float type, as a safetensors header names it; F32 is left as it is."""
    import numpy as np

    if dtype == "F16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        from ml_dtypes import bfloat16

        return values.astype(bfloat16).astype(np.float32)
    return values


FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The values of E2M1, of the OCP Microscaling Formats (MX) specification."""
