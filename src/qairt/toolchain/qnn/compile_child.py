"""The process that calls the vendor's compiler. It imports nothing of qairt.

The HTP compiler orders its output by the addresses of its objects, so the same graph gives other bytes when the kernel
places them elsewhere. This process therefore turns off address randomisation for itself, and is started with a fixed
environment, in the job's folder, with relative paths (ONNX Runtime hashes a model's path into the graph's name).

    python -P compile_child.py job.json        writes result.json beside it
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Literal, NotRequired, TypedDict

ADDR_NO_RANDOMIZE = 0x0040000
PROVIDER = "QNNExecutionProvider"


class JobGraph(TypedDict):
    """One ONNX file to compile."""

    onnx: str
    context: NotRequired[str]
    """Where `link` writes the graph's `EPContext` ONNX."""


class CompileJob(TypedDict):
    """The content of job.json."""

    action: Literal["dlc", "link"]
    graphs: list[JobGraph]
    options: dict[str, str]
    """The provider's."""


class CompileResult(TypedDict):
    """The content of result.json."""

    fixed_addresses: bool
    error: NotRequired[str]


def fix_addresses() -> bool:
    """Restart this process without address randomisation; False where the kernel does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    persona = libc.personality(0xFFFFFFFF)
    if persona == -1:
        return False
    if persona & ADDR_NO_RANDOMIZE:
        return True
    if os.environ.get("QAIRT_ADDRESSES") == "tried" or libc.personality(persona | ADDR_NO_RANDOMIZE) == -1:
        return False
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"QAIRT_ADDRESSES": "tried"})


def run(job: CompileJob) -> None:
    """Open a session per graph, which compiles it (`link`) or writes its DLC (`dlc`)."""
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise RuntimeError(f"{PROVIDER} is registered but offers no device")
    libraries = onnxruntime_qnn.LIB_DIR_FULL_PATH
    options = {"backend_path": os.path.join(libraries, "libQnnHtp.so")} | job["options"]
    if job["action"] == "dlc":
        options |= {
            "dump_qnn_ir_dlc": "1",
            "dump_qnn_ir_dlc_dir": "dlc",
            "qnn_ir_backend_path": os.path.join(libraries, "libQnnIr.so"),
        }
    count = len(job["graphs"])
    sessions = []
    for number, graph in enumerate(job["graphs"], 1):
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = 1  # more would not help, and would change its memory layout
        session.inter_op_num_threads = 1
        # the provider takes the graph as it is: folding and fusing by ONNX Runtime would only cost time
        session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        entries = {"session.disable_cpu_ep_fallback": "1"}
        if job["action"] == "link":
            entries |= {
                "ep.context_enable": "1",
                "ep.context_file_path": graph["context"],
                "ep.context_embed_mode": "0",
            }
            if count > 1:
                entries["ep.share_ep_contexts"] = "1"
                if number == count:
                    entries["ep.stop_share_ep_contexts"] = "1"
        for key, value in entries.items():
            session.add_session_config_entry(key, value)
        session.add_provider_for_devices(devices, options)
        if count > 1:
            os.write(1, b"qairt: graph %d of %d\n" % (number, count))  # see toolchain/progress.py
        sessions.append(onnxruntime.InferenceSession(graph["onnx"], session))


def main() -> None:
    result: CompileResult = {"fixed_addresses": fix_addresses()}
    with open(sys.argv[1], encoding="utf-8") as file:
        job: CompileJob = json.load(file)
    try:
        run(job)
    except Exception as error:
        result["error"] = str(error)
    with open("result.json", "w", encoding="utf-8") as file:
        json.dump(result, file)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if "error" not in result else 1)  # the vendor's libraries cannot always unload


if __name__ == "__main__":
    main()
