"""ONNX Runtime sessions on the CPU, and the part of a session's interface that qairt uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class SessionTensor(Protocol):
    """An input or output of a session."""

    name: str
    type: str
    """`tensor(uint16)`."""
    shape: list[int | str]


class Session(Protocol):
    """An `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[SessionTensor]: ...

    def get_outputs(self) -> Sequence[SessionTensor]: ...

    def run(self, output_names: Sequence[str], feeds: Mapping[str, Array]) -> Sequence[Array]: ...


def open_session(onnx: Path, *, threads: int = 1) -> Session:
    """Open a graph on the CPU for one call; its inputs and outputs are the graph's (integers when quantized).

    Weights are read where they lie, in mapped files. ONNX Runtime would arrange them anew, which pays over many calls:
    for one it takes twice the processor time, and their size in memory once more.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_prepacking", "1")
    session: Session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    return session
