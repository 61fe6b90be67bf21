"""ONNX Runtime sessions on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def session(onnx: Path, *, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU; inputs and outputs are the graph's (integers when quantized)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
