"""Parts on ONNX Runtime's CPU provider."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qairt.errors import GraphError
from qairt.runtime.parts import PartGraph, require_signature
from qairt.runtime.stored import Array

if TYPE_CHECKING:
    import onnxruntime

    from qairt.graph.session import Session


class CpuPart:
    """A part on ONNX Runtime's CPU provider.

    Weights are memory-mapped. They are dequantized either once, on opening, which takes 4 bytes per weight; or in every
    call, which takes no memory but makes decoding about 15 times slower.
    """

    def __init__(self, part: PartGraph, *, threads: int | None = None, fold_weights: bool | None = None) -> None:
        """
        Args:
            part: the part to run.
            threads: None for one per core.
            fold_weights: dequantize once; by default if that takes less than half of the free memory.

        Raises:
            GraphError: the file is missing or damaged, or its inputs and outputs differ from the signature.
        """
        import onnxruntime

        if fold_weights is None:
            fold_weights = _fits(part)
        options = session_options(threads=threads, fold_weights=fold_weights)
        try:
            session = onnxruntime.InferenceSession(part.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as failure:  # ONNX Runtime's classes share no base but Exception
            raise _unreadable(part, failure) from failure
        require_signature(part, session)
        self.part = part
        self._session: Session | None = session
        self._outputs = [spec.name for spec in part.signature.outputs]

    def ready(self) -> None:
        pass

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert self._session is not None
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def close(self) -> None:
        self._session = None


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


def _fits(part: PartGraph) -> bool:
    import psutil

    return 2 * float_bytes(part) < psutil.virtual_memory().available


def float_bytes(part: PartGraph) -> int:
    """Bytes of the part's weights as float32.

    Raises:
        GraphError: the file cannot be read.
    """
    import onnx

    try:
        model = onnx.load(part.onnx, load_external_data=False)
    except Exception as failure:  # protobuf's and the system's
        raise _unreadable(part, failure) from failure
    elements: int = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    return 4 * elements


def _unreadable(part: PartGraph, failure: Exception) -> GraphError:
    return GraphError(
        f"the graph cannot be loaded: {(str(failure) or type(failure).__name__).splitlines()[0]}",
        where=str(part.onnx),
        remedy="run the pipeline again; `qairt cache verify` finds damaged files",
    )
