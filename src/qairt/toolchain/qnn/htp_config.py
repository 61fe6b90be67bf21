"""The HTP configuration of a context binary, one per binary because it lists the binary's graph names.

Source: the settings of `qnn-context-binary-generator` (`--config_file`, and the backend's own file that it names), with
`--input_output_tensor_mem_type memhandle`: inputs and outputs lie in memory that the CPU and the NPU share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.toolchain.base import BinarySpec

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.toolchain.soc import Soc

EXTENSIONS = "libQnnHtpNetRunExtensions.so"
MEM_TYPE = "memhandle"
HVX_THREADS = 4
"""Vector threads of a graph: the number that every NPU with weight sharing has."""


def backend_settings(soc: Soc, *, shares_weights: bool, for_sdk: bool = False) -> dict[str, JsonValue]:
    """The HTP backend's settings for a chip and its memory.

    Args:
        soc: the chip that the binaries are compiled for.
        shares_weights: whether a binary holds several graphs with one copy of the weights.
        for_sdk: in the form that `qnn-context-binary-generator` takes: the chip as `soc_id`, and the session's
            protection domain.
    """
    chip: dict[str, JsonValue] = {"soc_id" if for_sdk else "soc_model": soc.id, "dsp_arch": f"v{soc.htp}"}
    core: dict[str, JsonValue] = {"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}
    domain: dict[str, JsonValue] = {"pd_session": "unsigned"} if for_sdk else {}
    return {
        "devices": [chip | {"cores": [core]} | domain],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": shares_weights},
    }


def write_configs(folder: Path, binary: BinarySpec, graph_names: Sequence[str], *, for_sdk: bool = False) -> list[Path]:
    """Write the backend's configuration and the generator's, which names it, beside the binary.

    Args:
        for_sdk: with the fields that only `qnn-context-binary-generator` reads: threads and relaxed precision.
    """
    stem = binary.file_name.split(".")[0]
    backend, generator = folder / f"{stem}_htp_config.json", folder / f"{stem}_generator.json"
    graph: dict[str, JsonValue] = {
        "graph_names": [*graph_names],
        "vtcm_mb": binary.soc.vtcm_mb,
        "O": binary.optimization_level,
    }
    if for_sdk:
        graph |= {"fp16_relaxed_precision": 0, "hvx_threads": HVX_THREADS}
    settings = backend_settings(binary.soc, shares_weights=len(graph_names) > 1, for_sdk=for_sdk)
    if binary.extended_udma:
        settings["context"] = {"weight_sharing_enabled": len(graph_names) > 1, "extended_udma": True}
    _write(backend, {"graphs": [graph], **settings})
    extensions: dict[str, JsonValue] = {
        "backend_extensions": {"shared_library_path": EXTENSIONS, "config_file_path": backend.name}
    }
    if not for_sdk:  # the generator itself takes these as options
        extensions["arguments"] = {"binary_file": stem, "input_output_tensor_mem_type": MEM_TYPE}
    _write(generator, extensions)
    return [backend, generator]


def _write(path: Path, content: Mapping[str, JsonValue]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
