"""Graphs of every rung behind one interface: real numbers in, real numbers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qairt.errors import GraphError
from qairt.model.parts import Part
from qairt.runtime.cpu import CpuPart, session_options
from qairt.runtime.parts import Opener, PartGraph
from qairt.runtime.stored import Array, Floats, to_real, to_stored

if TYPE_CHECKING:
    import onnx_ir as ir
    import onnxruntime

    from qairt.graph.weights_file import Weights


class GraphRunner(Protocol):
    """Runs the graph of one part."""

    @property
    def inputs(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes by name; 0 for an axis of unknown size."""

    def ready(self) -> None:
        """Wait until it can run."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Floats]: ...

    def cpu_outputs(self) -> Mapping[str, Floats]:
        """The CPU's outputs for the inputs of the last run; empty when it is not compared."""

    def step(self, output: str) -> float:
        """The step of an output's grid; 0 for floats."""

    def close(self) -> None:
        """Release its memory."""


OpenGraph = Callable[[Part, int], GraphRunner]
"""Opens the graph of a part and AR."""


class FloatGraph:
    """A float ONNX on ONNX Runtime's CPU provider; with `cut`, one part of a whole graph, cut out in memory.

    The graph's own nodes and weights run, so a whole graph is compared part by part and never fully in memory.
    """

    def __init__(
        self, onnx: Path, *, cut: Part | None = None, weights: Weights | None = None, threads: int | None = None
    ) -> None:
        """
        Args:
            weights: those of a graph that only refers to them.

        Raises:
            GraphError: the file is missing or damaged, or cannot be cut there.
        """
        import onnxruntime

        options = session_options(threads=threads, fold_weights=False)
        # Prepacked copies of weights would double the memory, for graphs that run a few times.
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(onnx.parent))
        model = _model(onnx, cut)
        if weights is not None:
            from qairt.graph.weights_file import names_in_file

            names = names_in_file(model)
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(weights.read(name)) for name in names]
            options.add_external_initializers(names, values)
        try:
            session = onnxruntime.InferenceSession(_bytes_of(model), options, providers=["CPUExecutionProvider"])
        except Exception as failure:  # ONNX Runtime's classes share no base but Exception
            first = (str(failure) or type(failure).__name__).splitlines()[0]
            raise GraphError(
                f"the graph cannot be loaded: {first}",
                where=str(onnx),
                remedy="`qairt cache verify` finds damaged files; `qairt run` then rebuilds them",
            ) from failure
        self.inputs = {
            node.name: tuple(size if isinstance(size, int) else 0 for size in node.shape)
            for node in session.get_inputs()
        }
        self._outputs = [node.name for node in session.get_outputs()]
        self._session: onnxruntime.InferenceSession | None = session

    def ready(self) -> None:
        pass

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Floats]:
        assert self._session is not None
        results = self._session.run(self._outputs, {name: inputs[name] for name in self.inputs})
        return dict(zip(self._outputs, results, strict=True))

    def cpu_outputs(self) -> Mapping[str, Floats]:
        return {}

    def step(self, output: str) -> float:
        return 0.0

    def close(self) -> None:
        self._session = None


class StoredGraph:
    """A quantized part: inputs are quantized, outputs dequantized."""

    def __init__(self, part: PartGraph, open_part: Opener, *, compare_with_cpu: bool = False) -> None:
        """
        Args:
            open_part: opens its runner.
            compare_with_cpu: run the CPU too, on the same stored inputs.
        """
        self._part = part
        self._cpu = CpuPart(part, fold_weights=False) if compare_with_cpu else None
        self._runner = open_part(part)
        self._cpu_outputs: dict[str, Floats] = {}
        self.inputs = {spec.name: spec.shape for spec in part.signature.inputs}

    def ready(self) -> None:
        self._runner.ready()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Floats]:
        signature = self._part.signature
        stored = {spec.name: to_stored(np.asarray(inputs[spec.name]), spec) for spec in signature.inputs}
        if self._cpu is not None:
            self._cpu_outputs = self._real(self._cpu.run(stored))
        return self._real(self._runner.run(stored))

    def cpu_outputs(self) -> Mapping[str, Floats]:
        return self._cpu_outputs

    def step(self, output: str) -> float:
        return next((spec.scale or 0.0 for spec in self._part.signature.outputs if spec.name == output), 0.0)

    def close(self) -> None:
        self._cpu = None
        self._runner.close()

    def _real(self, outputs: Mapping[str, Array]) -> dict[str, Floats]:
        return {spec.name: to_real(outputs[spec.name], spec) for spec in self._part.signature.outputs}


def _model(onnx: Path, cut: Part | None) -> ir.Model:
    from qairt.graph import files

    model = files.load(onnx)
    if cut is not None:
        from qairt.graph import split

        model = split.cut(model, cut, name=f"part {cut.index}")
    return model


def _bytes_of(model: ir.Model) -> bytes:
    import onnx_ir

    data: bytes = onnx_ir.to_proto(model).SerializeToString()
    return data
