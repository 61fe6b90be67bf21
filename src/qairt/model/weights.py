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
            rows: of the first axis only these; no more is read.

        Raises:
            ModelError: no such weight, or stored in a way that cannot be read.
        """

    def files(self) -> list[Path]:
        """The files that hold them."""


def open_weights(path: str | Path) -> WeightSource:
    """The weights of a model directory (.safetensors, one file or sharded) or of a .gguf file.

    Reads headers only; a tensor is read from the mapped file when it is asked for.

    Raises:
        ModelError: there are none, or a file is truncated.
    """
    path = Path(path)
    if path.is_dir():
        from qairt.model.safetensors_weights import SafetensorsWeights

        return SafetensorsWeights(path)
    from qairt.model.gguf_file import read_gguf_header
    from qairt.model.gguf_weights import GgufWeights

    if not path.is_file():
        raise ModelError("no such model", where=str(path), remedy="give a model directory or a .gguf file")
    return GgufWeights(read_gguf_header(path))


def missing_weight(name: str, where: Path) -> ModelError:
    """The error for a weight that the configuration asks for and the files lack."""
    return ModelError(
        f"the weight {name} is missing",
        where=str(where),
        remedy="the files and the configuration do not belong together, or the download is incomplete",
    )
