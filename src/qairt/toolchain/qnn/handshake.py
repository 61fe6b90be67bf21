"""Whether the compiler answers: used by `qairt doctor`."""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path

from qairt.errors import ToolchainError, ToolchainNotAvailable
from qairt.toolchain.provider import PROVIDER
from qairt.toolchain.qnn import dlc, wheel
from qairt.toolchain.qnn.process import run_job


def handshake() -> dict[str, str]:
    """Start the compiler once in its own process, which writes a DLC of one operation; about half a second.

    Returns:
        `onnxruntime`, `onnxruntime-qnn`, `qnn_sdk`, `provider` and `fixed_addresses` ("yes", or why two runs may give
        different binaries).

    Raises:
        ToolchainNotAvailable: the wheel is missing or too old, or the provider cannot be registered.
    """
    wheel.require()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dlc").mkdir()
        _write_relu(folder / "model.onnx")
        try:
            result = run_job(
                folder, {"action": "dlc", "graphs": [{"onnx": "model.onnx"}], "options": {}}, where="handshake"
            )
        except ToolchainError as error:
            raise ToolchainNotAvailable(error.what, where="backend: HTP", remedy=wheel.REMEDY) from error
        (written,) = (folder / "dlc").iterdir()
        sdk_version = dlc.inspect(written).sdk_version
    return {
        "onnxruntime": metadata.version("onnxruntime"),
        wheel.PACKAGE: metadata.version(wheel.PACKAGE),
        "qnn_sdk": sdk_version,
        "provider": PROVIDER,
        "fixed_addresses": "yes"
        if result["fixed_addresses"]
        else "no: this kernel forbids it, two runs may give different bytes",
    }


def _write_relu(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "handshake", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
