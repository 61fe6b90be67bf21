"""An adapter as the decoder sees it: for each of its linears, `x @ a @ b * scaling` is added to `x @ weight`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.amounts import count
from qairt.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix in an adapter's file, read when it is asked for."""

    tensor: str
    file: Path
    load: Callable[[], Floats]
    """[out, in], as Hugging Face stores linears."""

    def read(self) -> Floats:
        """
        Raises:
            ModelError: it holds NaN or infinity; names the tensor.
        """
        import numpy as np

        values = self.load()
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise ModelError(
                f"the tensor {self.tensor} holds {count(bad, 'NaN or infinite value')}",
                where=str(self.file),
                remedy="use an earlier checkpoint of it, or train it again with a lower learning rate",
            )
        return values


@dataclass(frozen=True)
class AdaptedModule:
    """What an adapter adds to one linear of the decoder."""

    name: str
    """`model.layers.0.self_attn.q_proj`."""
    rank: int
    scaling: float
    """alpha / rank, or alpha / sqrt(rank) with rank-stabilised LoRA; not yet in `b`."""
    stored_a: StoredMatrix
    """[rank, in]."""
    stored_b: StoredMatrix
    """[out, rank]."""

    @property
    def a(self) -> Floats:
        """[in, rank], read now; see `StoredMatrix.read` for errors."""
        return self.stored_a.read().T

    @property
    def b(self) -> Floats:
        """[rank, out], read now; see `StoredMatrix.read` for errors."""
        return self.stored_b.read().T


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter of this decoder, checked by shapes. Its values are read one matrix at a time."""

    name: str
    """As the recipe calls it."""
    path: Path
    """A folder saved by PEFT, or a `.gguf` file."""
    files: tuple[Path, ...]
    """Everything that it is read from."""
    modules: Mapping[str, AdaptedModule]
    """By the name of the decoder's linear, in the decoder's order."""
    base: str | None = None
    """The model that it was trained on, as it says."""

    @property
    def ranks(self) -> dict[str, int]:
        """By linear."""
        return {name: module.rank for name, module in self.modules.items()}

    def check_values(self) -> None:
        """Read every matrix once.

        Raises:
            ModelError: one holds NaN or infinity; names the tensor.
        """
        for module in self.modules.values():
            module.stored_a.read()
            module.stored_b.read()
