"""The x86 emulator of the HTP, as an ONNX Runtime session in this process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ToolchainError
from qairt.toolchain.provider import PROVIDER, compile_options
from qairt.toolchain.qnn import wheel
from qairt.toolchain.soc import Soc

if TYPE_CHECKING:
    from qairt.graph.session import Session


def emulator_session(
    onnx: Path, *, soc: Soc, optimization_level: int = 3, extended_udma: bool = False, threads: int = 1
) -> Session:
    """Compile a QDQ graph and open a session that runs it on the emulator: about a second per layer and token.

    The vendor's library may end this process: call it from a child.

    Raises:
        ToolchainNotAvailable: the wheel is missing or too old.
        ToolchainError: the graph does not compile.
    """
    import onnxruntime

    wheel.require()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    compiled = compile_options(soc, optimization_level, extended_udma=extended_udma)
    options.add_provider_for_devices(_devices(), compiled | {"backend_path": str(wheel.library("libQnnHtp.so"))})
    try:
        session: Session = onnxruntime.InferenceSession(str(onnx), options)
    except Exception as error:
        raise ToolchainError(
            f"the emulator rejects this graph: {error}", where=onnx.name, remedy="see the log above"
        ) from error
    return session


@cache
def _devices() -> list[object]:
    """The provider's devices. Cached: a process can register the library only once."""
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
