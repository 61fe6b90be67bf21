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


def backend_settings(soc: Soc, *, weights_are_shared: bool) -> dict[str, Any]:
    """What the HTP backend is told of the chip and its memory.

    Args:
        soc: the chip that the binaries are compiled for.
        weights_are_shared: whether a binary holds several graphs with one copy of the weights.
    """
    core = {"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}
    return {
        "devices": [{"soc_model": soc.id, "dsp_arch": f"v{soc.htp}", "cores": [core]}],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": weights_are_shared},
    }


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
    settings = backend_settings(soc, weights_are_shared=weights_are_shared)
    if for_sdk:
        graph |= {"fp16_relaxed_precision": 0, "hvx_threads": HVX_THREADS}
        (device,) = settings["devices"]
        del device["soc_model"]
        settings["devices"] = [{"soc_id": soc.id, **device, "pd_session": "unsigned"}]
    _write(backend, {"graphs": [graph], **settings})
    _write(
        generator,
        {"backend_extensions": {"shared_library_path": EXTENSIONS, "config_file_path": backend.name}}
        # the generator itself takes these as options
        | ({} if for_sdk else {"arguments": {"binary_file": stem, "input_output_tensor_mem_type": MEM_TYPE}}),
    )
    return [backend, generator]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
