"""The `qnn` toolchain: Qualcomm's HTP compiler, DLC writer and x86 emulator, out of the wheel `onnxruntime-qnn`.

Compiler calls run in a process of their own (`child`); each artifact is read back and compared with what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import ToolchainError, ToolchainNotAvailable
from qairt.toolchain.base import Inspection, LinkResult
from qairt.toolchain.progress import Progress, silent
from qairt.toolchain.qnn import dlc as qnn_dlc
from qairt.toolchain.qnn.wheel import PACKAGE, REMEDY, require, version

if TYPE_CHECKING:
    from qairt.toolchain.soc import Soc


def handshake() -> dict[str, str]:
    """Start the compiler once, in a process of its own, and ask for its version; about half a second.

    Returns:
        `onnxruntime`, `onnxruntime-qnn`, `qnn_sdk`, `provider` and `fixed_addresses` ("yes", or why binaries may differ
        between two runs).

    Raises:
        ToolchainNotAvailable: as `require`, or the provider cannot be registered.
    """
    from qairt.toolchain.qnn.compile import try_provider

    require()
    try:
        result = try_provider()
    except ToolchainError as error:
        raise ToolchainNotAvailable(error.what, where="backend: HTP", remedy=REMEDY) from error
    fixed = "yes" if result["fixed_addresses"] else "no: this kernel forbids it, two runs may give other bytes"
    return {
        "onnxruntime": metadata.version("onnxruntime"),
        PACKAGE: metadata.version(PACKAGE),
        "qnn_sdk": result["qnn_sdk"],
        "provider": "QNNExecutionProvider",
        "fixed_addresses": fixed,
    }


def convert(onnx: Path, dlc: Path) -> None:
    """Write a float ONNX as a float DLC.

    Args:
        onnx: float32, static shapes; its weights beside it.
        dlc: the file to write. Its graph is named like the ONNX graph.

    Raises:
        ToolchainNotAvailable: see `require`.
        ToolchainError: the compiler failed, or the DLC does not hold what was asked.
    """
    from qairt.toolchain.qnn.compile import write_dlc

    require()
    write_dlc(onnx, dlc)


def quantize(onnx: Path, dlc: Path) -> None:
    """Write a QDQ ONNX (`qairt.graph.qdq.quantize`) as a quantized DLC that holds its integer weights.

    Args and errors are those of `convert`; also fails when an input or output is not an integer.
    """
    from qairt.toolchain.qnn.compile import write_dlc

    require()
    write_dlc(onnx, dlc, quantized=True)


def link(
    graphs: Sequence[tuple[Path, str]],
    out_dir: Path,
    *,
    binary_name: str,
    soc: Soc,
    optimization_level: int = 3,
    progress: Progress = silent,
) -> LinkResult:
    """Compile quantize-dequantize graphs for a chip into one context binary that holds shared weights once.

    Args:
        graphs: ONNX files and the names their graphs get, e.g. `ar1_cl512_2_of_4`; in the binary each has `_` in
            front up to the length the compiler gave it (see `qairt.toolchain.qnn.names`).
        out_dir: where the binary, the wrappers (`NAME_ctx.onnx`) and the configuration are written.
        binary_name: e.g. `weight_sharing_model_2_of_4.serialized.bin`.
        soc: the chip.
        optimization_level: 1 … 3, how hard the compiler optimises the finished graph.
        progress: called with the fraction done and what is being done, before each graph.

    Raises:
        ToolchainNotAvailable: see `require`.
        RecipeError: several graphs for a chip without weight sharing.
        ToolchainError: the compiler failed, an operation would run on the CPU, or the binary's graphs, tensors or
            encodings are not those asked for.
    """
    from qairt.toolchain.qnn.compile import link_graphs

    require()
    return link_graphs(
        graphs,
        out_dir,
        binary_name=binary_name,
        soc=soc,
        optimization_level=optimization_level,
        progress=progress,
    )


def inspect(path: Path) -> Inspection:
    """What a DLC, a context binary or an ONNX file holds.

    Raises:
        ToolchainError: it is damaged or of another kind.
        ToolchainNotAvailable: a context binary needs the vendor's library.
    """
    from qairt.toolchain import cpu
    from qairt.toolchain.qnn import compile as qnn_compile

    if not path.is_file():
        raise ToolchainError("the file does not exist", where=str(path), remedy="run again: it is made anew")
    if path.suffix == ".onnx":
        return cpu.inspect(path)
    if path.suffix == ".dlc":
        return qnn_dlc.inspect(path)
    version()
    return qnn_compile.inspect_binary(path)


def session(onnx: Path, *, soc: Soc | None = None, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` that compiles a quantize-dequantize graph and runs it on the x86 emulator.

    In this process, which the vendor's library may end: call it from a child. About a second a layer and token.

    Raises:
        ToolchainNotAvailable: see `require`.
        ToolchainError: the graph does not compile.
    """
    from qairt.toolchain.qnn.compile import emulator_session

    require()
    return emulator_session(onnx, soc=soc, threads=threads)
