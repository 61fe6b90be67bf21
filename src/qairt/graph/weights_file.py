"""One raw file of float32 weights that every graph of a model points into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qairt.model.parameters import Parameters

ALIGNMENT = 4096


class TensorLocation(NamedTuple):
    """Where one tensor stands: byte offset, bytes, shape."""

    offset: int
    length: int
    shape: tuple[int, ...]


def write_weights(
    parameters: Parameters, path: Path, progress: Callable[[float, str], None] = lambda fraction, what: None
) -> dict[str, TensorLocation]:
    """Write all parameters to `path`, one at a time, page-aligned.

    Returns:
        Where each stands, by name.

    Raises:
        ModelError: a weight is missing or holds NaN; names it.
    """
    places: dict[str, TensorLocation] = {}
    names = parameters.names()
    with path.open("wb") as file:
        for number, name in enumerate(names):
            values = parameters.read(name)
            offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
            file.seek(offset)
            values.tofile(file)
            places[name] = TensorLocation(offset, values.nbytes, values.shape)
            progress(number / len(names), name)
    return places


def external(name: str, place: TensorLocation, path: Path) -> ir.ExternalTensor:
    """A float32 tensor that stays in the file."""
    return ir.ExternalTensor(
        path.name,
        place.offset,
        place.length,
        ir.DataType.FLOAT,
        shape=ir.Shape(place.shape),
        name=name,
        base_dir=path.parent,
    )


def read(tensor: ir.TensorProtocol) -> NDArray[np.float32]:
    """A tensor's values: a read-only map of its file if it lies in one, which may be a hard link."""
    if isinstance(tensor, ir.ExternalTensor):
        shape = tuple(int(size) for size in tensor.shape.numpy())
        return np.memmap(tensor.path, tensor.dtype.numpy(), "r", tensor.offset or 0, shape)
    return np.asarray(tensor.numpy())
