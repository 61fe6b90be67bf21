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


def write_configs(
    folder: Path,
    binary_name: str,
    *,
    graph_names: Sequence[str],
    soc: Soc,
    optimization_level: int,
    weights_are_shared: bool,
) -> list[Path]:
    """Write the backend's configuration and the generator's, which names it, beside the binary."""
    stem = binary_name.split(".")[0]
    backend, generator = folder / f"{stem}_htp_config.json", folder / f"{stem}_generator.json"
    _write(
        backend,
        {
            "graphs": [
                {
                    "graph_names": list(graph_names),
                    "vtcm_mb": soc.vtcm_mb,
                    "O": optimization_level,
                }
            ],
            "devices": [
                {
                    "soc_model": soc.id,
                    "dsp_arch": f"v{soc.htp}",
                    "cores": [{"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}],
                }
            ],
            "memory": {"mem_type": "shared_buffer"},
            "context": {"weight_sharing_enabled": weights_are_shared},
        },
    )
    _write(
        generator,
        {
            "backend_extensions": {"shared_library_path": EXTENSIONS, "config_file_path": backend.name},
            "arguments": {"binary_file": stem, "input_output_tensor_mem_type": "memhandle"},
        },
    )
    return [backend, generator]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
