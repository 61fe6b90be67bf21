"""The tools of `backend: CPU`: plain ONNX Runtime. It runs QDQ ONNX anywhere and makes no NPU artifacts."""

from __future__ import annotations

from importlib import metadata

from qairt.errors import ToolchainNotAvailable


def version() -> str:
    """E.g. `onnxruntime 1.31.1`; imports nothing.

    Raises:
        ToolchainNotAvailable: it is not installed.
    """
    try:
        return f"onnxruntime {metadata.version('onnxruntime')}"
    except metadata.PackageNotFoundError:
        raise ToolchainNotAvailable(
            "onnxruntime is not installed", where="backend: CPU", remedy="pip install onnxruntime"
        ) from None
