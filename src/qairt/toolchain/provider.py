"""The QNN execution provider of ONNX Runtime: its name, and its options for a chip.

Imports nothing heavy: the emulator's processes start with it.
"""

from __future__ import annotations

from qairt.toolchain.soc import Soc

PROVIDER = "QNNExecutionProvider"


def compile_options(soc: Soc, optimization_level: int, *, extended_udma: bool = False) -> dict[str, str]:
    """The provider's options for a chip."""
    options = {
        "soc_model": str(soc.id),
        "htp_arch": str(soc.htp),
        "vtcm_mb": str(soc.vtcm_mb),
        "htp_graph_finalization_optimization_mode": str(optimization_level),
    }
    return options | {"extended_udma": "1"} if extended_udma else options
