"""One part of a split decoder, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature
from qairt.runtime.stored import Array


@dataclass(frozen=True)
class QuantizedPart:
    """A part's graph for one AR. A float graph is a part too: its tensors then have no scale."""

    onnx: Path
    """Its weights lie beside it."""
    signature: GraphSignature

    @classmethod
    def read(cls, onnx: Path, signature: Path) -> QuantizedPart:
        """From the files the `quantize` stage wrote."""
        return cls(onnx, GraphSignature.read(signature))


class PartRunner(Protocol):
    """Runs one part on stored numbers; inputs and outputs by name, shapes and dtypes as the part's signature."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...

    def close(self) -> None:
        """Give its memory back; it cannot run any more."""


Opener = Callable[[QuantizedPart], PartRunner]
"""Makes a part ready to run."""


class CpuPart:
    """A part on ONNX Runtime's CPU provider.

    Weights are mapped from their file. With `fold_weights` they are dequantized once, on opening, which costs 4 bytes a
    weight; without, before every call, which costs none but makes decoding some 15 times slower.
    """

    def __init__(self, part: QuantizedPart, *, threads: int | None = None, fold_weights: bool = True) -> None:
        """
        Args:
            part: what to run.
            threads: None for one per core.

        Raises:
            GraphError: the file is missing, damaged, or its inputs and outputs are not those of the signature.
        """
        import onnxruntime

        options = session_options(threads=threads, fold_weights=fold_weights)
        try:
            session = onnxruntime.InferenceSession(part.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as failure:  # ONNX Runtime's classes share no base but Exception
            raise GraphError(
                f"ONNX Runtime cannot load it: {str(failure).splitlines()[0]}",
                where=str(part.onnx),
                remedy="run the pipeline again; `qairt cache verify` finds damaged files",
            ) from failure
        require_signature(part, session)
        self.part = part
        self._session: Any = session
        self._outputs = [spec.name for spec in part.signature.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def close(self) -> None:
        self._session = None


def session_options(*, threads: int | None, fold_weights: bool) -> Any:
    """Options of an ONNX Runtime session that computes a quantized graph as it is written, on floats between Q and DQ."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # Idle threads that spin take the cores away from the next part, and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if fold_weights:
        # Keeps ONNX Runtime from looking for integer kernels (there are none for 16-bit activations) and so lets it
        # fold the dequantization of constants.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def require_signature(part: QuantizedPart, session: Any) -> None:
    """
    Raises:
        GraphError: the session's inputs or outputs are not those of the part's signature; names the first.
    """
    signature = part.signature
    for kind, specs, nodes in (
        ("input", signature.inputs, session.get_inputs()),
        ("output", signature.outputs, session.get_outputs()),
    ):
        expected = {spec.name: list(spec.shape) for spec in specs}
        found = {node.name: list(node.shape) for node in nodes}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise GraphError(
                    f"the {kind} {name} is {found.get(name, 'missing')} in the graph, "
                    f"but {expected.get(name, 'missing')} in the signature of {signature.name}",
                    where=str(part.onnx),
                    remedy="graph and signature come from different runs; run the pipeline again",
                )
