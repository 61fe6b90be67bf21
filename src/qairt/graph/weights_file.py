"""The raw file of float32 weights that all graphs of a model refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qairt.model.parameters import Parameters

ALIGNMENT = 4096


class TensorLocation(NamedTuple):
    """A tensor's position in the file: byte offset, length in bytes, shape."""

    offset: int
    length: int
    shape: tuple[int, ...]


def write_weights(
    parameters: Parameters,
    path: Path,
    progress: Callable[[float, str], None] = lambda fraction, what: None,
    *,
    more: Iterable[tuple[str, NDArray[np.float32]]] = (),
) -> dict[str, TensorLocation]:
    """Write all parameters to `path`, one at a time, page-aligned.

    Args:
        more: other tensors of the graph, by name, written after them.

    Returns:
        The location of each, by name.

    Raises:
        ModelError: a weight is missing or contains NaN; names it.
    """
    locations: dict[str, TensorLocation] = {}
    names = parameters.names()
    with path.open("wb") as file:
        for number, name in enumerate(names):
            locations[name] = append(file, parameters.read(name))
            progress(number / len(names), name)
        for name, values in more:
            locations[name] = append(file, values)
    return locations


def append(file: BinaryIO, values: NDArray[np.float32]) -> TensorLocation:
    """Write a tensor at the next multiple of `ALIGNMENT`; returns its location."""
    offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
    file.seek(offset)
    file.write(np.ascontiguousarray(values).data)
    file.flush()
    return TensorLocation(offset, values.nbytes, values.shape)


def external(name: str, location: TensorLocation, path: Path) -> ir.ExternalTensor:
    """A float32 tensor that refers to the file."""
    return ir.ExternalTensor(
        path.name,
        location.offset,
        location.length,
        ir.DataType.FLOAT,
        shape=ir.Shape(location.shape),
        name=name,
        base_dir=path.parent,
    )


def read(tensor: ir.TensorProtocol) -> NDArray[np.float32]:
    """A tensor's values; a read-only memory map if it is in a file, which may be a hard link."""
    if isinstance(tensor, ir.ExternalTensor) and tensor.size:
        shape = tuple(int(size) for size in tensor.shape.numpy())
        return np.memmap(tensor.path, tensor.dtype.numpy(), "r", tensor.offset or 0, shape)
    return np.asarray(tensor.numpy())
