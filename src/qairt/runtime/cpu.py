"""Parts on ONNX Runtime's CPU provider."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qairt.errors import GraphError
from qairt.runtime.parts import PartGraph, require_signature
from qairt.runtime.shared_weights import SharedWeights
from qairt.runtime.stored import Array

if TYPE_CHECKING:
    import onnxruntime

    from qairt.runtime.float_weights import FloatWeightGraph


class CpuPart:
    """A part on ONNX Runtime's CPU provider.

    Weights are memory-mapped. They are dequantized either once, on opening, which takes 4 bytes per weight; or in every
    call, which takes no memory but makes decoding about 15 times slower.
    """

    def __init__(
        self,
        part: PartGraph,
        *,
        threads: int | None = None,
        fold_weights: bool | None = None,
        weights: SharedWeights | None = None,
    ) -> None:
        """
        Args:
            part: the part to run.
            threads: None for one per core.
            fold_weights: dequantize once; by default if that takes less than half of the free memory.
            weights: those that graphs of other ARs have dequantized.

        Raises:
            GraphError: the file is missing or damaged, or its inputs and outputs differ from the signature.
        """
        self._weights: dict[str, onnxruntime.OrtValue] = {}
        """The session reads these where they lie."""
        try:
            session = self._opened(part, threads, fold_weights, weights or SharedWeights())
        except Exception as failure:  # protobuf's, the system's, and ONNX Runtime's, which share no base but Exception
            raise _unreadable(part, failure) from failure
        require_signature(part, session)
        self.part = part
        self._session: onnxruntime.InferenceSession | None = session
        self._outputs = [spec.name for spec in part.signature.outputs]

    def ready(self) -> None:
        pass

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert self._session is not None
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def close(self) -> None:
        self._session = None
        self._weights = {}

    def _opened(
        self, part: PartGraph, threads: int | None, fold_weights: bool | None, shared: SharedWeights
    ) -> onnxruntime.InferenceSession:
        import onnxruntime

        graph = _with_float_weights(part) if fold_weights is not False else None
        if graph is not None:
            weights = shared.of(part.signature.part, graph, if_they_fit=fold_weights is None)
            if weights is not None:
                self._weights = {
                    name: onnxruntime.OrtValue.ortvalue_from_numpy(values) for name, values in weights.items()
                }
                options = session_options(threads=threads, fold_weights=True)
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
                options.add_session_config_entry("session.disable_prepacking", "1")  # would copy the weights
                options.add_session_config_entry(
                    "session.model_external_initializers_file_folder_path", str(part.onnx.parent)
                )
                for name, value in self._weights.items():
                    options.add_initializer(name, value)
                return onnxruntime.InferenceSession(graph.serialized(), options, providers=["CPUExecutionProvider"])
            fold_weights = False
        elif fold_weights is None:
            fold_weights = _fits(part)
        options = session_options(threads=threads, fold_weights=fold_weights)
        return onnxruntime.InferenceSession(part.onnx, options, providers=["CPUExecutionProvider"])


def session_options(*, threads: int | None, fold_weights: bool) -> onnxruntime.SessionOptions:
    """Options of a session that computes a quantized graph literally: in float between DQ and Q."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.enable_cpu_mem_arena = False  # no slower, and frees memory
    # spinning threads would take cores from other processes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if fold_weights:
        # stops ONNX Runtime from looking for integer kernels (there are none for 16-bit activations), so that it can
        # fold the dequantization of constants
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _with_float_weights(part: PartGraph) -> FloatWeightGraph | None:
    """The graph with its weights as floats; None for one with other constants, or with none."""
    from qairt.runtime.float_weights import FloatWeightGraph

    graph = FloatWeightGraph(part.onnx)
    return graph if graph.is_complete else None


def _fits(part: PartGraph) -> bool:
    import psutil

    return 2 * float_bytes(part) < psutil.virtual_memory().available


def float_bytes(part: PartGraph) -> int:
    """Bytes of the part's weights as float32."""
    import onnx

    model = onnx.load(part.onnx, load_external_data=False)
    elements: int = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    return 4 * elements


def _unreadable(part: PartGraph, failure: Exception) -> GraphError:
    return GraphError(
        f"the graph cannot be loaded: {(str(failure) or type(failure).__name__).splitlines()[0]}",
        where=str(part.onnx),
        remedy="run the pipeline again; `qairt cache verify` finds damaged files",
    )
