"""The raw file of float32 weights that graphs refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import FileIO
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.model.layout import EMBEDDING, LM_HEAD
from qairt.model.parameters import Parameters

ALIGNMENT = 4096


class TensorLocation(NamedTuple):
    """A tensor's position in the file: byte offset, length in bytes, shape."""

    offset: int
    length: int
    shape: tuple[int, ...]


class Weights(Protocol):
    """Float32 weights, read by name; `qairt.model.parameters.Parameters`, or `ExportedWeights`."""

    def names(self) -> list[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def read(self, name: str) -> NDArray[np.float32]: ...

    def vocabulary(self, name: str) -> Iterator[tuple[int, NDArray[np.float32]]]: ...


class ExportedWeights:
    """Every weight of an exported graph: a decoder's parameters, and other tensors such as those of LoRA branches."""

    def __init__(
        self, parameters: Parameters, others: Mapping[str, NDArray[np.float32]], files: Sequence[Path] = ()
    ) -> None:
        self.files = files
        """What they are read from."""
        self.parameters = parameters
        self.others = others
        """Of no file of the model, by name."""
        self.vocabulary = parameters.vocabulary

    def names(self) -> list[str]:
        return [*self.parameters.names(), *self.others]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.others[name].shape if name in self.others else self.parameters.shape(name)

    def read(self, name: str) -> NDArray[np.float32]:
        return self.others[name] if name in self.others else self.parameters.read(name)


def locations_of(weights: Weights, names: Iterable[str] | None = None) -> dict[str, TensorLocation]:
    """Where `write_weights` puts each weight; nothing is read."""
    locations: dict[str, TensorLocation] = {}
    end = 0
    for name in weights.names() if names is None else names:
        shape = weights.shape(name)
        locations[name] = TensorLocation(_aligned(end), 4 * prod(shape), shape)
        end = _aligned(end) + locations[name].length
    return locations


def write_weights(
    weights: Weights,
    path: Path,
    progress: Callable[[float, str], None] = lambda fraction, what: None,
    *,
    names: Iterable[str] | None = None,
) -> dict[str, TensorLocation]:
    """Write weights to `path`, one at a time and those of a vocabulary in slices, page-aligned.

    Args:
        names: the weights to write; all of them when None.

    Returns:
        The location of each, by name.

    Raises:
        ModelError: a weight is missing or contains NaN; names it.
    """
    locations = locations_of(weights, names)
    with path.open("wb", buffering=0) as file:
        for number, (name, location) in enumerate(locations.items()):
            file.seek(location.offset)
            if name == EMBEDDING:
                for _, rows in weights.vocabulary(name):
                    _write(file, rows)
            elif name == LM_HEAD:
                _write_columns(file, weights.vocabulary(name), location)
            else:
                _write(file, weights.read(name))
            progress(number / len(locations), name)
    return locations


def refer(model: ir.Model, locations: Mapping[str, TensorLocation], path: Path) -> None:
    """Let a graph refer to weights in another file."""
    for name, location in locations.items():
        model.graph.initializers[name].const_value = external(name, location, path)


def names_in_file(model: ir.Model) -> list[str]:
    """The weights that a graph has in a file."""
    initializers = model.graph.initializers
    return [name for name, value in initializers.items() if isinstance(value.const_value, ir.ExternalTensor)]


def _write(file: FileIO, values: NDArray[np.float32]) -> None:
    left = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while left:  # a call writes 2 GB at most
        left = left[file.write(left) :]


def _write_columns(file: FileIO, slices: Iterable[tuple[int, NDArray[np.float32]]], location: TensorLocation) -> None:
    columns = location.shape[1]
    for start, values in slices:
        for row, line in enumerate(values):
            file.seek(location.offset + 4 * (row * columns + start))
            _write(file, line)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def append(file: BinaryIO, values: NDArray[np.float32]) -> TensorLocation:
    """Write a tensor at the next multiple of `ALIGNMENT`; returns its location."""
    offset = _aligned(file.tell())
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
