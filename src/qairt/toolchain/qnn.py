"""The `qnn` toolchain: Qualcomm's HTP compiler, DLC writer and x86 emulator, out of the wheel `onnxruntime-qnn`.

Compiler calls run in a process of their own (`qnn_child`); each artifact is read back and compared with what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import ToolchainError, ToolchainNotAvailable
from qairt.toolchain import qnn_dlc
from qairt.toolchain.base import Inspection, LinkResult
from qairt.toolchain.progress import Progress, silent

if TYPE_CHECKING:
    from qairt.toolchain.soc import Soc

PACKAGE = "onnxruntime-qnn"
SUPPORTED = "2.7.0"
"""Known to work; older ones are refused, newer ones are tried."""
REMEDY = f"pip install {PACKAGE}=={SUPPORTED} (x86-64 Linux, Python 3.11 or newer)"


def version() -> str:
    """e.g. `onnxruntime 1.31.1, onnxruntime-qnn 2.7.0`; imports neither.

    Raises:
        ToolchainNotAvailable: one of them is missing.
    """
    found = []
    for package in ("onnxruntime", PACKAGE):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            raise ToolchainNotAvailable(f"{package} is not installed", where="backend: HTP", remedy=REMEDY) from None
    return ", ".join(found)


def require() -> None:
    """Cheap: looks at package metadata only; `handshake` talks to the compiler.

    Raises:
        ToolchainNotAvailable: the wheel is missing or older than the supported one.
    """
    version()
    installed = metadata.version(PACKAGE)
    if _numbers(installed) < _numbers(SUPPORTED):
        raise ToolchainNotAvailable(
            f"{PACKAGE} {installed} is too old, {SUPPORTED} is needed", where="backend: HTP", remedy=REMEDY
        )


def library_folder() -> Path | None:
    """Where the wheel's libraries lie; None where it is not there."""
    from importlib.util import find_spec

    found = find_spec("onnxruntime_qnn")
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def handshake() -> dict[str, str]:
    """Start the compiler once, in a process of its own, and ask for its version; about half a second.

    Returns:
        `onnxruntime`, `onnxruntime-qnn`, `qnn_sdk`, `provider` and `fixed_addresses` ("yes", or why binaries may differ
        between two runs).

    Raises:
        ToolchainNotAvailable: as `require`, or the provider cannot be registered.
    """
    from qairt.toolchain.qnn_compile import try_provider

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
    from qairt.toolchain.qnn_compile import write_dlc

    require()
    write_dlc(onnx, dlc)


def quantize(onnx: Path, dlc: Path) -> None:
    """Write a quantize-dequantize ONNX (`qairt.graph.qdq`) as a quantized DLC: its weights are the integers in it.

    Args and errors are those of `convert`; also fails when an input or output is not an integer.
    """
    from qairt.toolchain.qnn_compile import write_dlc

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
            front up to the length the compiler gave it (see `qairt.toolchain.qnn_names`).
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
    from qairt.toolchain.qnn_compile import link_graphs

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
    from qairt.toolchain import cpu, qnn_compile

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
    from qairt.toolchain.qnn_compile import emulator_session

    require()
    return emulator_session(onnx, soc=soc, threads=threads)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
