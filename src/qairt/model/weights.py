"""A model's weights, read from disk one tensor at a time in float32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qairt.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


ALL = slice(None)


class WeightSource(Protocol):
    """Stored weights under Hugging Face's names and in its layout: linears are [out, in]."""

    def names(self) -> list[str]:
        """Every stored weight."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading it."""

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        """The values; possibly a read-only view of the mapped file.

        Args:
            rows: only these of the first axis; no others are read.

        Raises:
            ModelError: no such weight, or stored in an unsupported type.
        """

    def files(self) -> list[Path]:
        """The files that hold them."""


def missing_weight(name: str, where: Path) -> ModelError:
    """The error for a weight that the configuration requires and the files lack."""
    return ModelError(
        f"the weight {name} is missing",
        where=str(where),
        remedy="download the whole model, with the config.json that was published with it",
    )
