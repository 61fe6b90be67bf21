"""Weights that quantization changed, in a folder: each as the integers of its grid, an eighth of float32 for 4 bits.

{name}.safetensors    integers    of the unsigned grid: two of 4 bits in a byte, the first in its low half
                      scale, offset, block_scale    as those of `Encoding`; block_scale for LPBQ only
                      or values   float32, where they are not on the grid
{name}.npy            float32: norms, what is read many times, and what earlier versions of qairt wrote

A file's metadata holds the shape, and what else the grid needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qairt.errors import QuantizationError
from qairt.quant.encodings import BlockScales, Encoding
from qairt.quant.nibbles import packed, unpacked

Floats = NDArray[np.float32]
_GRID = "grid"
_BAND = 1 << 22
"""Values that are converted together."""
_FORMS = (".safetensors", ".npy")


class ChangedWeights(Mapping[str, Floats]):
    """Those of a folder, by name, in the layout of `qairt.model.parameters`; each is read when it is asked for.

    Raises:
        QuantizationError: a file cannot be read, on access.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Floats:
        file = self.folder / f"{name}.safetensors"
        if file.is_file():
            try:
                return _read(file)
            except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
                raise QuantizationError(
                    f"it holds no changed weight ({type(error).__name__})",
                    where=str(file),
                    remedy="`qairt cache verify` finds damaged files; `qairt run` then rebuilds them",
                ) from error
        values: Floats = np.load(self._older(name), mmap_mode="r").view(np.ndarray)
        return values

    def __contains__(self, name: object) -> bool:
        return any((self.folder / f"{name}{form}").is_file() for form in _FORMS)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self.folder.iterdir() if path.suffix in _FORMS))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _older(self, name: str) -> Path:
        file = self.folder / f"{name}.npy"
        if not file.is_file():
            raise KeyError(name)
        return file


def keep_changed(folder: Path, name: str, values: Floats, encoding: Encoding) -> Path:
    """Write one changed weight; returns its file.

    Args:
        encoding: its grid.
    """
    file = folder / f"{name}.safetensors"
    integers = _on_grid(values, encoding)
    if integers is None:
        save_file({"values": np.ascontiguousarray(values)}, file)
        return file
    tensors: dict[str, NDArray[np.generic]] = {"integers": integers, "scale": encoding.scale, "offset": encoding.offset}
    grid = {
        "shape": values.shape,
        "bitwidth": encoding.bitwidth,
        "symmetric": encoding.symmetric,
        "axis": encoding.axis,
    }
    if encoding.blocks is not None:
        tensors["block_scale"] = encoding.blocks.int_scale
        grid |= {
            "block_size": encoding.blocks.block_size,
            "decompressed_bitwidth": encoding.blocks.decompressed_bitwidth,
        }
    contiguous = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
    save_file(contiguous, file, metadata={_GRID: json.dumps(grid)})
    return file


def _on_grid(values: Floats, encoding: Encoding) -> NDArray[np.uint8] | None:
    """The integers, as they are stored; None if these are not the same values, or take more than 8 bits."""
    if encoding.bitwidth > 8:
        return None
    integers = np.empty(values.shape, np.uint8)
    for rows, grid in encoding.bands(values.shape, _BAND):
        found = grid.quantize(values[rows])
        if not np.array_equal(grid.dequantize(found), values[rows]):
            return None
        integers[rows] = found
    return packed(integers) if encoding.bitwidth <= 4 else integers.reshape(-1)


def _read(file: Path) -> Floats:
    with safe_open(file, "np") as opened:
        if "values" in opened.keys():  # noqa: SIM118 - it is no mapping
            values: Floats = opened.get_tensor("values")
            return values
        grid = json.loads(opened.metadata()[_GRID])
        stored = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    blocks = None
    if "block_scale" in stored:
        blocks = BlockScales(grid["block_size"], stored["block_scale"], grid["decompressed_bitwidth"])
    encoding = Encoding(grid["bitwidth"], grid["symmetric"], stored["scale"], stored["offset"], grid["axis"], blocks)
    shape = tuple(grid["shape"])
    integers = stored["integers"]
    integers = unpacked(integers, shape) if encoding.bitwidth <= 4 else integers.reshape(shape)
    values = np.empty(shape, np.float32)
    for rows, own in encoding.bands(shape, _BAND):
        values[rows] = own.dequantize(integers[rows])
    return values
