"""Calibration inputs for `qairt-quantizer`: raw tensors and the list of them.

The list has one line per sample: `NAME:=PATH` for each input, separated by spaces. Every file is little-endian float32,
integers too: the quantizer's default.

Source: `--input_list` in the public documentation of `qairt-quantizer` and `qnn-net-run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec

INPUT_LIST = "input_list.txt"
_MAX_EXACT = 1 << 24
"""float32 represents all integers up to here."""


def write_inputs(folder: Path, vectors: Path, inputs: Sequence[TensorSpec]) -> Path:
    """Write a part's test vectors into `folder` as raw tensors, and the list with paths relative to it.

    Args:
        vectors: from `split_model` (`qairt.graph.part_vectors`).
        inputs: the graph's inputs, in order.

    Returns:
        The path of the list.

    Raises:
        ToolchainError: an input is missing, has another shape, or holds a number that float32 cannot represent.
    """
    import numpy as np

    from qairt.graph import part_vectors

    found = part_vectors.read(vectors).inputs
    raw = folder / "raw"
    raw.mkdir()
    entries = []
    for spec in inputs:
        values = found.get(spec.name)
        if values is None or tuple(values.shape) != spec.shape:
            shape = "missing" if values is None else f"of shape {tuple(values.shape)}"
            raise ToolchainError(
                f"the input {spec.name} is {shape} in the test vectors; the graph takes shape {spec.shape}",
                where=vectors.name,
                remedy="run split_model again (--force split_model)",
            )
        if values.dtype.kind in "iu" and values.size and int(np.abs(values).max()) > _MAX_EXACT:
            raise ToolchainError(
                f"the input {spec.name} holds {int(np.abs(values).max())}, which float32 cannot represent",
                where=vectors.name,
                remedy="quantize this part with toolchain: qnn",
            )
        file = raw / f"{spec.name}.raw"
        file.write_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())
        entries.append(f"{spec.name}:={file.relative_to(folder)}")
    path = folder / INPUT_LIST
    path.write_text(" ".join(entries) + "\n", encoding="utf-8")
    return path
