"""Open the weights of a model, whatever file format they are in."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import ModelError
from qairt.model.weights import WeightSource


def open_weights(path: str | Path) -> WeightSource:
    """The weights of a model directory (.safetensors, one file or sharded) or of a .gguf file.

    Reads headers only; a tensor is read from the mapped file on demand.

    Raises:
        ModelError: there are none, or a file is truncated.
    """
    path = Path(path)
    if path.is_dir():
        from qairt.model.safetensors_weights import SafetensorsWeights

        return SafetensorsWeights(path)
    from qairt.model.gguf.file import read_gguf_header
    from qairt.model.gguf.weights import GgufWeights

    if not path.is_file():
        raise ModelError("no such model", where=str(path), remedy="use a model directory or a .gguf file")
    return GgufWeights(read_gguf_header(path))
