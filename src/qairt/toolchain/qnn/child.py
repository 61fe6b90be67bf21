"""The process that calls the vendor's compiler. It imports nothing of qairt.

The HTP compiler orders what it writes by the addresses of its objects, so the same graph gives other bytes when the
kernel places them elsewhere. This process therefore switches address randomisation off for itself, and is started
with a fixed environment, in the job's folder, with relative paths (ONNX Runtime hashes a model's path into the graph's
name).

    python child.py job.json        writes result.json beside it

Job: {"action": "dlc" | "link", "graphs": [{"onnx": "a/a.onnx", "context": "a_ctx.onnx"}], "options": {}}
Result: {"seconds": [0.8], "cpu_seconds": 0.9, "peak_rss": 180000000, "fixed_addresses": true}, or
    {"error": "…", "kind": "…"} with the last three
"""

import ctypes
import json
import os
import resource
import sys
import time
from typing import Any

ADDR_NO_RANDOMIZE = 0x0040000
PROVIDER = "QNNExecutionProvider"


def fix_addresses() -> bool:
    """Start this process anew without address randomisation; False where the kernel does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    persona = libc.personality(0xFFFFFFFF)
    if persona == -1:
        return False
    if persona & ADDR_NO_RANDOMIZE:
        return True
    if os.environ.get("QAIRT_ADDRESSES") == "tried" or libc.personality(persona | ADDR_NO_RANDOMIZE) == -1:
        return False
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"QAIRT_ADDRESSES": "tried"})


def run(job: dict[str, Any]) -> list[float]:
    """Make a session per graph: that compiles it (`link`) or writes its DLC (`dlc`)."""
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
    seconds, kept = [], []
    for place, graph in enumerate(job["graphs"]):
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = 1  # more would not help, and would move its memory
        session.inter_op_num_threads = 1
        # the provider takes the graph as it is: what ONNX Runtime would fold or fuse changes nothing but the time
        session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        entries = {"session.disable_cpu_ep_fallback": "1"}
        if job["action"] == "link":
            entries |= {
                "ep.context_enable": "1",
                "ep.context_file_path": graph["context"],
                "ep.context_embed_mode": "0",
            }
            if len(job["graphs"]) > 1:
                entries["ep.share_ep_contexts"] = "1"
                if place == len(job["graphs"]) - 1:
                    entries["ep.stop_share_ep_contexts"] = "1"
        for key, value in entries.items():
            session.add_session_config_entry(key, value)
        session.add_provider_for_devices(devices, options)
        if len(job["graphs"]) > 1:
            os.write(1, b"qairt: graph %d of %d\n" % (place + 1, len(job["graphs"])))  # see toolchain/progress.py
        started = time.monotonic()
        kept.append(onnxruntime.InferenceSession(graph["onnx"], session))
        seconds.append(round(time.monotonic() - started, 3))
    return seconds


def peak_rss() -> int:
    """Bytes; of this program alone, where `ru_maxrss` goes on counting from before it was started."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def main() -> None:
    fixed = fix_addresses()
    with open(sys.argv[1]) as file:
        job = json.load(file)
    result: dict[str, Any]
    try:
        result = {"seconds": run(job)}
    except Exception as error:
        result = {"error": str(error), "kind": type(error).__name__}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result |= {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_rss": peak_rss(),
        "fixed_addresses": fixed,
    }
    with open("result.json", "w") as file:
        json.dump(result, file)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if "error" not in result else 1)  # the vendor's libraries are not always able to unload


if __name__ == "__main__":
    main()
