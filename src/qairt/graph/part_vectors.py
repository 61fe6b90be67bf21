"""Test vectors of a part: inputs from real text and the float outputs they give, one safetensors file.

Names in the file are `inputs/NAME` and `outputs/NAME`. A part of our own graphs is compared with the float model while
they are made: a cut in the wrong place cannot pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qairt.errors import GraphError
from qairt.model.config import DecoderConfig
from qairt.model.parts import Part
from qairt.quant.measure.reference_vectors import ReferenceVectors, expected_outputs, part_inputs

Array = NDArray[Any]

MOST_ERROR = 1e-3
"""Largest difference between a part in ONNX Runtime and the float model, relative to the output's largest value."""


@dataclass(frozen=True)
class TestVectors:
    """Arrays by tensor name."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def save(self, path: Path) -> None:
        """Write one file; the same bytes for the same values."""
        from safetensors.numpy import save_file

        named = {f"inputs/{name}": value for name, value in self.inputs.items()}
        named |= {f"outputs/{name}": value for name, value in self.outputs.items()}
        save_file({name: np.ascontiguousarray(named[name]) for name in sorted(named)}, path)


def read(path: Path) -> TestVectors:
    """What `TestVectors.save` wrote."""
    from safetensors.numpy import load_file

    inputs: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for name, value in load_file(path).items():
        kind, _, tensor = name.partition("/")
        (inputs if kind == "inputs" else outputs)[tensor] = value
    return TestVectors(inputs, outputs)


def from_text(
    onnx: Path,
    part: Part,
    config: DecoderConfig,
    vectors: ReferenceVectors,
    *,
    ar: int,
    cl: int,
    mask_floor: float,
    threads: int,
) -> TestVectors:
    """Run a part of a model on real text.

    Raises:
        GraphError: its outputs are not those of the float model; names the output.
    """
    inputs = part_inputs(vectors, config, part, ar=ar, cl=cl, mask_floor=mask_floor)
    outputs = run(onnx, inputs, threads)
    for name, wanted in expected_outputs(vectors, config, part, ar=ar, cl=cl).items():
        error = _error(outputs[name], wanted)
        print(f"{name}: differs from the float model by {error:.1e}")
        if not error <= MOST_ERROR:
            raise GraphError(
                f"it differs from the float model by {error:.1e} (allowed: {MOST_ERROR:.0e})",
                where=f"{onnx.name}, output {name}",
                remedy="please report this model: the graph was cut or built wrongly",
            )
    return TestVectors(inputs, outputs)


def from_graph(onnx: Path, inputs: Mapping[str, Array], *, threads: int) -> TestVectors:
    """Run a part of a foreign graph on inputs that the parts before it gave."""
    return TestVectors(inputs, run(onnx, inputs, threads))


def run(onnx: Path, inputs: Mapping[str, Array], threads: int) -> dict[str, Array]:
    """All outputs of a graph in ONNX Runtime; inputs it does not have are passed over."""
    from qairt.graph.session import session

    opened = session(onnx, threads=threads)
    wanted = {value.name for value in opened.get_inputs()}
    names = [output.name for output in opened.get_outputs()]
    results = opened.run(names, {name: value for name, value in inputs.items() if name in wanted})
    return dict(zip(names, results, strict=True))


def _error(found: Array, wanted: Array) -> float:
    """Over the last positions, which `wanted` holds: padding stands before them."""
    axis = next((place for place in range(found.ndim) if found.shape[place] != wanted.shape[place]), None)
    if axis is not None:
        start = found.shape[axis] - wanted.shape[axis]
        found = found.take(np.arange(start, found.shape[axis]), axis)
    return float(np.max(np.abs(found - wanted)) / max(float(np.max(np.abs(wanted))), 1e-30))
