"""Test vectors of a part: inputs and the float outputs they give, in one safetensors file.

Names in the file are `inputs/NAME` and `outputs/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qairt.errors import GraphError
from qairt.graph.session import Array, open_session

MAX_ERROR = 1e-3
"""Largest allowed difference between a part in ONNX Runtime and the float model, relative to the output's maximum."""


@dataclass(frozen=True)
class TestVectors:
    """Arrays by tensor name."""

    __test__ = False  # pytest would collect it by its name

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def save(self, path: Path) -> None:
        """Write one file; the same bytes for the same values."""
        from safetensors.numpy import save_file

        named = {f"inputs/{name}": value for name, value in self.inputs.items()}
        named |= {f"outputs/{name}": value for name, value in self.outputs.items()}
        save_file({name: np.ascontiguousarray(named[name]) for name in sorted(named)}, path)


def read(path: Path) -> TestVectors:
    """Read a file that `TestVectors.save` wrote."""
    from safetensors.numpy import load_file

    inputs: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for name, value in load_file(path).items():
        kind, _, tensor = name.partition("/")
        (inputs if kind == "inputs" else outputs)[tensor] = value
    return TestVectors(inputs, outputs)


def record(
    onnx: Path, inputs: Mapping[str, Array], *, expected: Mapping[str, Array] | None = None, threads: int
) -> TestVectors:
    """Run a part on `inputs`, and compare its outputs with the float model's, so that a wrong cut cannot go unnoticed.

    Args:
        onnx: the float part.
        inputs: by name, in the graph's shapes.
        expected: outputs of the float model, at their last positions; None for an external graph, whose float model is
            not available.
        threads: the most to use.

    Raises:
        GraphError: an output differs from the float model's; names it.
    """
    read, outputs = _run(onnx, inputs, threads)
    for name, wanted in (expected or {}).items():
        error = _relative_error(outputs[name], wanted)
        print(f"{name}: differs from the float model by {error:.1e}")
        if not error <= MAX_ERROR:
            raise GraphError(
                f"it differs from the float model by {error:.1e} (allowed: {MAX_ERROR:.0e})",
                where=f"{onnx.name}, output {name}",
                remedy="please report this model: its graph was split or built incorrectly",
            )
    return TestVectors(read, outputs)


def run(onnx: Path, inputs: Mapping[str, Array], threads: int) -> dict[str, Array]:
    """All outputs of a graph in ONNX Runtime; ignores inputs that the graph does not have."""
    _, outputs = _run(onnx, inputs, threads)
    return outputs


def _run(onnx: Path, inputs: Mapping[str, Array], threads: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Those inputs that the graph has, and its outputs."""
    session = open_session(onnx, threads=threads)
    known = {value.name for value in session.get_inputs()}
    read = {name: value for name, value in inputs.items() if name in known}
    names = [output.name for output in session.get_outputs()]
    return read, dict(zip(names, session.run(names, read), strict=True))


def largest_relative_error(found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest relative error of all outputs: max |difference| / max |expected|; NaN where one has NaN."""
    return float(np.max([_relative_error(found[name], wanted) for name, wanted in expected.items()]))


def _relative_error(found: Array, wanted: Array) -> float:
    """Over the last positions, which `wanted` holds; padding comes before them."""
    axis = next((axis for axis in range(found.ndim) if found.shape[axis] != wanted.shape[axis]), None)
    if axis is not None:
        start = found.shape[axis] - wanted.shape[axis]
        found = found.take(np.arange(start, found.shape[axis]), axis)
    difference = np.max(np.abs(np.subtract(found, wanted, dtype=np.float32)))
    return float(difference / max(float(np.max(np.abs(np.asarray(wanted, np.float32)))), 1e-30))
