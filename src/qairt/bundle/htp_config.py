"""`htp_backend_ext_config.json`: the NPU's settings that Genie hands to its backend."""

from __future__ import annotations

from typing import Any

from qairt.toolchain.soc import Soc

NAME = "htp_backend_ext_config.json"


def htp_extensions(soc: Soc, *, weights_are_shared: bool) -> dict[str, Any]:
    """
    Args:
        soc: the chip that the binaries are compiled for.
        weights_are_shared: whether a binary holds several graphs with one copy of the weights.
    """
    return {
        "devices": [
            {
                "soc_model": soc.id,
                "dsp_arch": f"v{soc.htp}",
                "cores": [{"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}],
            }
        ],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": weights_are_shared},
    }
