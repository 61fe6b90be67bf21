"""Calibration inputs for `qairt-quantizer`: raw tensors, and the list that names them.

One line a sample, `NAME:=PATH` for each input, separated by spaces. Every file is little-endian float32, integers too:
so the quantizer reads them unless it is told otherwise.

Source: `--input_list` in the public documentation of `qairt-quantizer` and `qnn-net-run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec

LIST = "input_list.txt"
_LARGEST = 1 << 24
"""Integers up to here are float32 numbers."""


def write_inputs(folder: Path, vectors: Path, inputs: Sequence[TensorSpec]) -> Path:
    """Write a part's test vectors as raw tensors into `folder`, and their list, with paths relative to it.

    Args:
        vectors: from `split_model` (`qairt.graph.part_vectors`).
        inputs: those of the graph, in order.

    Returns:
        The list.

    Raises:
        ToolchainError: the vectors lack an input, or one has another shape or a number that float32 does not hold.
    """
    import numpy as np

    from qairt.graph import part_vectors as test_vectors

    found = test_vectors.read(vectors).inputs
    raw = folder / "raw"
    raw.mkdir()
    entries = []
    for spec in inputs:
        values = found.get(spec.name)
        if values is None or tuple(values.shape) != spec.shape:
            shape = "no such input" if values is None else f"shape {tuple(values.shape)}"
            raise ToolchainError(
                f"the test vectors have {shape} for {spec.name}, which is {spec.shape}",
                where=vectors.name,
                remedy="run split_model again (--force split_model)",
            )
        if values.dtype.kind in "iu" and values.size and int(np.abs(values).max()) > _LARGEST:
            raise ToolchainError(
                f"{spec.name} holds {int(np.abs(values).max())}, which float32 does not",
                where=vectors.name,
                remedy="quantize this part with toolchain: qnn",
            )
        path = raw / f"{spec.name}.raw"
        path.write_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())
        entries.append(f"{spec.name}:={path.relative_to(folder)}")
    listed = folder / LIST
    listed.write_text(" ".join(entries) + "\n")
    return listed
