"""A tensor of a safetensors checkpoint that is not read yet: its shape and size are known from the header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qairt.model.safetensors_file import SafetensorsTensor, map_safetensors_tensor, read_safetensors_tensor
from qairt.model.weights import ALL

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray


class StoredTensor(Protocol):
    """A tensor of its own in the file, packed into several, or some rows of one of these."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""

    @property
    def files(self) -> Sequence[Path]: ...

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        """The values, or those of some rows of the first axis; no others are read."""


@dataclass(frozen=True)
class FileTensor:
    """A tensor of a file."""

    file: Path
    name: str
    at: SafetensorsTensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.at.shape

    @property
    def dtype(self) -> str:
        """As the header writes it (`BF16`)."""
        return self.at.dtype

    @property
    def nbytes(self) -> int:
        return self.at.nbytes

    @property
    def files(self) -> Sequence[Path]:
        return (self.file,)

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        return read_safetensors_tensor(self.file, self.name, self.at, rows)

    def mapped(self) -> NDArray[Any]:
        """A view of the file in the stored type."""
        return map_safetensors_tensor(self.file, self.at)


@dataclass(frozen=True)
class Tap:
    """One tap of a convolution's weight [channels, 1, length], of all channels."""

    whole: StoredTensor
    place: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.whole.shape[:1]

    @property
    def nbytes(self) -> int:
        return self.whole.nbytes // self.whole.shape[-1]

    @property
    def files(self) -> Sequence[Path]:
        return self.whole.files

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        return self.whole.read(rows)[:, 0, self.place].copy()


@dataclass(frozen=True)
class TensorRows:
    """Consecutive rows of the first axis of a tensor: one of several projections that are stored joined."""

    whole: StoredTensor
    start: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.count, *self.whole.shape[1:]

    @property
    def nbytes(self) -> int:
        return self.whole.nbytes * self.count // self.whole.shape[0]

    @property
    def files(self) -> Sequence[Path]:
        return self.whole.files

    def read(self, rows: slice = ALL) -> NDArray[np.float32]:
        start, stop, step = rows.indices(self.count)
        return self.whole.read(slice(self.start + start, self.start + stop, step))
