"""The HTP configuration of a binary, written on the fly: every part has graph names of its own.

Source: the settings `qnn-context-binary-generator` takes (`--config_file`, and the backend's own file it names), with
`--input_output_tensor_mem_type memhandle`: inputs and outputs lie in memory that the CPU and the NPU share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qairt.toolchain.soc import Soc

EXTENSIONS = "libQnnHtpNetRunExtensions.so"
MEM_TYPE = "memhandle"
HVX_THREADS = 4
"""Vector threads of a graph: what every NPU that can share weights has."""


def write_configs(
    folder: Path,
    binary_name: str,
    *,
    graph_names: Sequence[str],
    soc: Soc,
    optimization_level: int,
    weights_are_shared: bool,
    for_sdk: bool = False,
) -> list[Path]:
    """Write the backend's configuration and the generator's, which names it, beside the binary.

    Args:
        for_sdk: with the fields that only the generator itself reads: threads, relaxed precision, the session's
            protection domain; and the chip as `soc_id`.
    """
    stem = binary_name.split(".")[0]
    backend, generator = folder / f"{stem}_htp_config.json", folder / f"{stem}_generator.json"
    graph: dict[str, Any] = {"graph_names": list(graph_names), "vtcm_mb": soc.vtcm_mb, "O": optimization_level}
    core = {"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}
    device: dict[str, Any] = {"soc_model": soc.id, "dsp_arch": f"v{soc.htp}", "cores": [core]}
    if for_sdk:
        graph |= {"fp16_relaxed_precision": 0, "hvx_threads": HVX_THREADS}
        device = {"soc_id": soc.id, "dsp_arch": f"v{soc.htp}", "cores": [core], "pd_session": "unsigned"}
    _write(
        backend,
        {
            "graphs": [graph],
            "devices": [device],
            "memory": {"mem_type": "shared_buffer"},
            "context": {"weight_sharing_enabled": weights_are_shared},
        },
    )
    _write(
        generator,
        {"backend_extensions": {"shared_library_path": EXTENSIONS, "config_file_path": backend.name}}
        # the generator itself takes these as options
        | ({} if for_sdk else {"arguments": {"binary_file": stem, "input_output_tensor_mem_type": MEM_TYPE}}),
    )
    return [backend, generator]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
