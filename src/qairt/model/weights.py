"""A model's weights, read from disk one tensor at a time in float32."""

from __future__ import annotations

from collections.abc import Iterable
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


def require_apart(tensors: Iterable[tuple[int, int, str]], where: Path) -> None:
    """
    Args:
        tensors: offset, bytes and name of each tensor in a file.

    Raises:
        ModelError: two of them share bytes.
    """
    end, last = 0, ""
    for offset, nbytes, name in sorted(tensors):
        if nbytes and offset < end:
            raise ModelError(
                f"the tensors {last} and {name} overlap", where=str(where), remedy="download or copy it again"
            )
        if offset + nbytes > end:
            end, last = offset + nbytes, name
