"""DLCs and context binaries from graphs: what `qairt.toolchain.qnn.qnn` does once the compiler is known to be there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.toolchain import cpu
from qairt.toolchain.base import GraphContents, Inspection, LinkResult
from qairt.toolchain.comparison import require_as_asked
from qairt.toolchain.progress import Progress
from qairt.toolchain.qnn import dlc as qnn_dlc
from qairt.toolchain.qnn.config import write_configs
from qairt.toolchain.qnn.names import padded, rename
from qairt.toolchain.qnn.process import place_graph, run_job
from qairt.toolchain.soc import SOCS, Soc, require_weight_sharing
from qairt.toolchain.vendor_process import workplace

if TYPE_CHECKING:
    import onnx

PROVIDER_NAME = re.compile(r"QNNExecutionProvider_QNNExecutionProvider_\d+_1_0")
TIMES_A_NAME_STANDS = 3
"""In a context binary of QNN 2.51."""
INTEGERS = ("int32", "uint8", "uint16")
EMULATED = SOCS["SM8650"]


def write_dlc(onnx_path: Path, dlc: Path, *, quantized: bool = False) -> None:
    """See `qairt.toolchain.qnn.qnn.convert` and `quantize`."""
    asked = cpu.inspect(onnx_path).graphs[0]
    if quantized:
        _require_integers(asked, onnx_path)
    with workplace(dlc.parent) as folder:
        source = place_graph(onnx_path, folder, "model")
        (folder / "dlc").mkdir()
        run_job(folder, {"action": "dlc", "graphs": [{"onnx": source}], "options": {}}, where=dlc.name)
        written = sorted((folder / "dlc").iterdir())
        if len(written) != 1 or not PROVIDER_NAME.fullmatch(written[0].stem):
            raise ToolchainError(
                f"the compiler wrote {[path.name for path in written]}, one DLC was asked for",
                where=dlc.name,
                remedy="the graph does not go to the NPU as a whole",
            )
        made = written[0]
        name = padded(asked.name or dlc.stem, len(made.stem))
        rename(made, {made.stem: name})
        qnn_dlc.fix_times(made)
        found = qnn_dlc.inspect(made)
        missing = [spec.name for spec in (*asked.inputs, *asked.outputs) if spec.name not in found.names]
        if missing or found.graphs[0].name != name:
            raise ToolchainError(
                f"the DLC lacks {', '.join(missing) or name}", where=dlc.name, remedy="see the item's log"
            )
        os.replace(made, dlc)


def link_graphs(
    graphs: Sequence[tuple[Path, str]],
    out_dir: Path,
    *,
    binary_name: str,
    soc: Soc,
    optimization_level: int,
    progress: Progress,
) -> LinkResult:
    """See `qairt.toolchain.qnn.qnn.link`."""
    if not graphs or len({name for _, name in graphs}) != len(graphs):
        raise ToolchainError(f"graphs must have names of their own, got {[name for _, name in graphs]}")
    if len(graphs) > 1:
        require_weight_sharing(soc)
    asked = {name: cpu.inspect(path).graphs[0] for path, name in graphs}
    for path, name in graphs:
        _require_integers(asked[name], path)
    with workplace(out_dir) as folder:
        jobs = [
            {"onnx": place_graph(path, folder, name, short_names=True), "context": f"{name}_ctx.onnx"}
            for path, name in graphs
        ]
        options = compile_options(soc, optimization_level) | (
            {"enable_htp_weight_sharing": "1"} if len(graphs) > 1 else {}
        )
        job = {"action": "link", "graphs": jobs, "options": options}
        result = run_job(folder, job, where=binary_name, progress=progress)
        binaries = sorted(folder.glob("*.bin"))
        if len(binaries) != 1:
            raise ToolchainError(
                f"the compiler wrote {[path.name for path in binaries]}, one binary was asked for", where=binary_name
            )
        made = binaries[0]
        wrappers = {name: _read_wrapper(folder / f"{name}_ctx.onnx") for _, name in graphs}
        names = {_partition(wrappers[name]): name for _, name in graphs}
        names = {old: padded(name, len(old)) for old, name in names.items()}
        rename(made, names, expected=TIMES_A_NAME_STANDS)
        inspection = inspect_binary(made)
        renamed = {padded(name, _length(wrappers[name])): asked[name] for name in asked}
        require_as_asked(inspection, renamed, soc, where=binary_name)
        written = {}
        for name, wrapper in wrappers.items():
            _point_at(wrapper, names[_partition(wrapper)], binary_name)
            written[name] = out_dir / f"{name}_ctx.onnx"
            written[name].write_bytes(wrapper.SerializeToString(deterministic=True))
        os.replace(made, out_dir / binary_name)
    binary = out_dir / binary_name
    configs = write_configs(
        out_dir,
        binary_name,
        graph_names=[graph.name for graph in inspection.graphs],
        soc=soc,
        optimization_level=optimization_level,
        weights_are_shared=len(graphs) > 1,
    )
    seconds = {name: spent for (_, name), spent in zip(graphs, result["seconds"], strict=True)}
    return LinkResult(binary, written, configs, inspection, seconds)


def inspect_binary(path: Path) -> Inspection:
    """What a context binary holds, read by the vendor's library in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("system.py")), str(_library("libQnnSystem.so")), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        content = json.loads(done.stdout)
    except json.JSONDecodeError:
        content = {"error": f"reading it ended with code {done.returncode} {done.stderr.strip()[-200:]}"}
    if "error" in content:
        raise ToolchainError(
            f"it cannot be read as a context binary: {content['error']}", where=path.name, remedy="make it again"
        )
    graphs = tuple(
        GraphContents(
            name=graph["name"],
            inputs=tuple(TensorSpec(**spec) for spec in graph["inputs"]),
            outputs=tuple(TensorSpec(**spec) for spec in graph["outputs"]),
        )
        for graph in content["graphs"]
    )
    return Inspection(
        kind="context binary", graphs=graphs, sdk_version=content["sdk_version"], soc_model=content["soc_model"]
    )


def compile_options(soc: Soc, optimization_level: int) -> dict[str, str]:
    """The provider's options for a chip."""
    return {
        "soc_model": str(soc.id),
        "htp_arch": str(soc.htp),
        "vtcm_mb": str(soc.vtcm_mb),
        "htp_graph_finalization_optimization_mode": str(optimization_level),
    }


def emulator_session(onnx_path: Path, *, soc: Soc | None, threads: int) -> Any:
    """See `qairt.toolchain.qnn.qnn.session`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    provider_options = compile_options(soc or EMULATED, 3) | {"backend_path": str(_library("libQnnHtp.so"))}
    options.add_provider_for_devices(_devices(), provider_options)
    try:
        return onnxruntime.InferenceSession(str(onnx_path), options)
    except Exception as error:
        raise ToolchainError(
            f"the emulator does not take this graph: {error}", where=onnx_path.name, remedy="see the log above"
        ) from error


def try_provider() -> dict[str, Any]:
    """Write a DLC of one operation; returns the child's result and the version of the QNN SDK that wrote it."""
    import tempfile

    import onnx
    from onnx import TensorProto, helper

    shape = [1, 8]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "handshake",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dlc").mkdir()
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / "model.onnx"
        )
        job = {"action": "dlc", "graphs": [{"onnx": "model.onnx"}], "options": {}}
        result = run_job(folder, job, where="handshake")
        written = list((folder / "dlc").iterdir())
        return result | {"qnn_sdk": qnn_dlc.inspect(written[0]).sdk_version}


_registered: list[Any] = []


def _devices() -> list[Any]:
    """The provider's devices in this process; the library can be registered once only."""
    import onnxruntime
    import onnxruntime_qnn

    if not _registered:
        onnxruntime.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())
        _registered.extend(
            device for device in onnxruntime.get_ep_devices() if device.ep_name == "QNNExecutionProvider"
        )
    return _registered


def _library(name: str) -> Path:
    from qairt.toolchain.qnn.wheel import library_folder

    folder = library_folder()
    assert folder is not None
    return folder / name


def _require_integers(graph: GraphContents, path: Path) -> None:
    floats = [spec.name for spec in (*graph.inputs, *graph.outputs) if spec.dtype not in INTEGERS]
    if floats:
        raise ToolchainError(
            f"inputs or outputs that are not integers: {', '.join(floats)}",
            where=path.name,
            remedy="quantize the graph first (stage quantize)",
        )


def _read_wrapper(path: Path) -> onnx.ModelProto:
    import onnx

    if not path.is_file():
        raise ToolchainError("the compiler wrote no EPContext graph", where=path.name)
    wrapper = onnx.load(path)
    others = [node.op_type for node in wrapper.graph.node if node.op_type != "EPContext"]
    if others or len(wrapper.graph.node) != 1:
        raise ToolchainError(
            f"the graph was cut into {len(wrapper.graph.node)} pieces ({', '.join(others) or 'all on the NPU'})",
            where=path.name,
            remedy="a part must go to the NPU as a whole; see the item's log for what was refused",
        )
    return wrapper


def _partition(wrapper: onnx.ModelProto) -> str:
    """The graph's name in the binary, as its wrapper has it."""
    name = next(item.s for item in wrapper.graph.node[0].attribute if item.name == "partition_name").decode()
    return str(name)


def _length(wrapper: onnx.ModelProto) -> int:
    return len(_partition(wrapper))


def _point_at(wrapper: onnx.ModelProto, graph_name: str, binary_name: str) -> None:
    """Make a wrapper name the renamed graph and the binary beside it."""
    node = wrapper.graph.node[0]
    for item in node.attribute:
        if item.name == "partition_name":
            item.s = graph_name.encode()
        elif item.name == "ep_cache_context":
            item.s = binary_name.encode()
    node.name = graph_name
