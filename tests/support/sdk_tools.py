"""Stand-ins for an SDK's tools: each checks its arguments and environment strictly, and writes a real artifact with the
`qnn` toolchain. They run in their own process, from the folder's `lib/python`.

A DLC of the wheel names its graph with 64 characters, the vendor's with the file name: the name is shortened here.
The source of a quantized DLC is recorded in `notes` by digest, as the wheel links ONNX, not DLCs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

FAULTS = ("nothing", "empty", "garbage", "another graph", "float", "another chip", "segfault")
ENVIRONMENT = {
    "QAIRT_SDK_ROOT", "QNN_SDK_ROOT", "PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE", "LC_ALL", "OMP_NUM_THREADS", "HOME", "TMPDIR",
}  # fmt: skip
ADDED_BY_PYTHON = {"LC_CTYPE", "PWD", "SHLVL", "_", "__PYVENV_LAUNCHER__"}


def main(tool: str) -> None:
    root = Path(os.environ["QAIRT_SDK_ROOT"])
    if sys.argv[1:] == ["--version"]:
        print(f"QAIRT {re.search(r'version: (.*)', (root / 'sdk.yaml').read_text())[1]}")
        return
    with (root / "notes" / "calls").open("a") as file:
        file.write(f"{tool} {' '.join(sys.argv[1:])}\n")
    check_environment(root)
    path = root / "faults" / tool
    fault = path.read_text() if path.exists() else ""
    if fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "nothing":
        print("INFO - Completed successfully")
        return
    if fault and fault not in FAULTS:
        print(fault, flush=True)
        sys.exit(1)
    {"qairt-converter": convert, "qairt-quantizer": quantize, "qnn-context-binary-generator": link}[tool](root, fault)
    print("INFO - Completed successfully")


def check_environment(root: Path) -> None:
    extra = set(os.environ) - ENVIRONMENT - ADDED_BY_PYTHON
    assert not extra, f"left over from whoever called: {extra}"
    assert os.environ["PATH"].split(":")[0] == str(root / "bin" / "x86_64-linux-clang")
    assert os.environ["LD_LIBRARY_PATH"].split(":")[0] == str(root / "lib" / "x86_64-linux-clang")
    assert os.environ["PYTHONPATH"] == str(root / "lib" / "python")


def arguments(required: Sequence[str], **others: dict) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in required:
        parser.add_argument(name, required=True)
    for name, settings in others.items():
        parser.add_argument(f"--{name}", **settings)
    return parser.parse_args()


def convert(root: Path, fault: str) -> None:
    import qnn_calls

    from qairt.toolchain.onnx_contents import onnx_contents

    layouts = {"action": "append", "nargs": 2, "default": []}
    given = arguments(["--input_network", "--quantization_overrides", "-o"], source_model_input_layout=layouts)
    onnx, dlc = Path(given.input_network), Path(given.o)
    names = [spec.name for spec in onnx_contents(onnx).inputs]
    assert given.source_model_input_layout == [[name, "NONTRIVIAL"] for name in names], given.source_model_input_layout
    assert json.loads(Path(given.quantization_overrides).read_text())["version"] == "1.0.0"
    qnn_calls.convert(onnx, dlc)
    finish(dlc, "somewhere_else" if fault == "another graph" else dlc.stem, fault)


def quantize(root: Path, fault: str) -> None:
    import numpy as np
    import qnn_calls

    from qairt.graph.files import external_files
    from qairt.toolchain.onnx_contents import onnx_contents

    numbers = ["--act_bitwidth", "--bias_bitwidth"]
    given = arguments(["--input_dlc", "--input_list", "--output_dlc", *numbers])
    assert (given.act_bitwidth, given.bias_bitwidth) == ("16", "32")
    source, dlc = Path(given.input_dlc), Path(given.output_dlc)
    assert source.is_file()
    if fault == "float":
        shutil.copyfile(source, dlc)
        return
    onnx = Path.cwd().parent / f"{dlc.stem}.onnx"  # what the stage wrote before it called
    inputs = {spec.name: spec for spec in onnx_contents(onnx).inputs}
    (sample,) = Path(given.input_list).read_text().splitlines()
    files = dict(entry.split(":=") for entry in sample.split(" "))
    assert list(files) == list(inputs)
    for name, path in files.items():
        values = np.fromfile(path, "<f4")
        assert values.size == np.prod(inputs[name].shape), name
        assert np.isfinite(values).all()
    qnn_calls.quantize(onnx, dlc)
    finish(dlc, "somewhere_else" if fault == "another graph" else source.stem, fault)
    kept = root / "notes" / digest(dlc)
    if not kept.exists():
        kept.mkdir()
        for name in (onnx.name, *external_files(onnx)):
            shutil.copyfile(onnx.parent / name, kept / name)


def link(root: Path, fault: str) -> None:
    import qnn_calls

    from qairt.toolchain.qnn import dlc as qnn_dlc
    from qairt.toolchain.soc import SOCS

    given = arguments(
        ["--backend", "--model", "--input_output_tensor_mem_type", "--config_file", "--binary_file", "--dlc_path"]
    )
    assert (given.backend, given.model) == ("libQnnHtp.so", "libQnnModelDlc.so")
    assert given.input_output_tensor_mem_type == "memhandle"
    dlcs = [Path(path) for path in given.dlc_path.split(",")]
    names = [path.stem.removesuffix("_quantized") for path in dlcs]
    assert all(name in qnn_dlc.inspect(path).names for name, path in zip(names, dlcs, strict=True))
    soc, level = checked_config(Path(given.config_file), names)
    if fault == "another chip":
        soc = next(other for other in SOCS.values() if other.htp == 79)
    asked = list(zip(dlcs, names, strict=True))[: 1 if fault == "another graph" else None]
    graphs = [(next((root / "notes" / digest(path)).glob("*.onnx")), name) for path, name in asked]
    binary = f"{given.binary_file}.bin"
    made = qnn_calls.link(graphs, Path("made"), binary_name=binary, soc=soc, optimization_level=level)
    content = b"garbage" if fault == "garbage" else made.binary.read_bytes()
    for graph in made.inspection.graphs:
        name = next(name for name in names if graph.name.endswith(name.replace("-", "_")))
        content = content.replace(graph.name.encode(), name.encode().ljust(len(graph.name), b"\0"))
    Path("output").mkdir()
    (Path("output") / binary).write_bytes(content)


def checked_config(path: Path, names: Sequence[str]):
    from qairt.toolchain.soc import SOCS

    extensions = json.loads(path.read_text())
    assert set(extensions) == {"backend_extensions"}
    assert extensions["backend_extensions"]["shared_library_path"] == "libQnnHtpNetRunExtensions.so"
    config = json.loads(Path(extensions["backend_extensions"]["config_file_path"]).read_text())
    assert set(config) == {"graphs", "devices", "context", "memory"}
    (graph,), (device,) = config["graphs"], config["devices"]
    soc = next(soc for soc in SOCS.values() if soc.id == device["soc_id"])
    assert graph == {
        "graph_names": list(names), "O": graph["O"], "vtcm_mb": soc.vtcm_mb, "fp16_relaxed_precision": 0,
        "hvx_threads": 4,
    }  # fmt: skip
    core = {"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}
    assert device == {"soc_id": soc.id, "dsp_arch": f"v{soc.htp}", "cores": [core], "pd_session": "unsigned"}
    assert config["context"] == {"weight_sharing_enabled": len(names) > 1}
    assert config["memory"] == {"mem_type": "shared_buffer"}
    return soc, graph["O"]


def finish(dlc: Path, name: str, fault: str) -> None:
    """Name the graph as the vendor's tools do."""
    if fault == "empty":
        dlc.write_bytes(b"")
        return
    content = bytearray(dlc.read_bytes())
    (padded,) = set(re.findall(rb"_+" + dlc.stem.removesuffix("_quantized").encode() + rb"(?=\x00)", content))
    for match in [*re.finditer(re.escape(padded) + rb"\x00", content)]:
        start = match.start()
        if struct.unpack_from("<I", content, start - 4) == (len(padded),):
            struct.pack_into("<I", content, start - 4, len(name))
        content[start : start + len(padded)] = name.encode().ljust(len(padded), b"\0")
    dlc.write_bytes(content)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
