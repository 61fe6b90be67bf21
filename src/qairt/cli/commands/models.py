"""`qairt models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.cli.console import emit, emit_json, table
from qairt.cli.options import Json

if TYPE_CHECKING:
    from qairt.model.families.family import Family, Tier

_PROVEN: dict[Tier, str] = {
    "float": "float",
    "quantized": "quantized",
    "emulated": "emulated NPU",
    "genie": "Genie",
}


def models(as_json: Json = False) -> None:
    """List the families of models that can be built.

    Each with what it has besides Llama, and what was proven. float: the logits equal those of transformers, in torch
    and in ONNX Runtime. quantized: so do the quantized graphs on the CPU, but for rounding. emulated NPU: compiled
    graphs agree with the CPU. Genie: a bundle answers with the CPU's tokens.

    \b
    Examples:
      qairt models
      qairt models --json
    """
    from qairt.model.families import FAMILIES

    if as_json:
        emit_json({"families": [_facts(family) for family in FAMILIES.values()]})
        return
    rows = [
        (
            name,
            family.models,
            ", ".join(family.features) or "none",
            "yes" if family.gguf is not None else "no",
            ", ".join(_PROVEN[tier] for tier in family.proven),
        )
        for name, family in FAMILIES.items()
    ]
    for line in table(rows, header=("family", "models", "besides Llama", "GGUF", "proven")):
        emit(line)


def _facts(family: Family) -> dict[str, object]:
    return {
        "name": family.name,
        "architecture": family.architecture,
        "models": family.models,
        "features": list(family.features),
        "gguf": None if family.gguf is None else family.gguf.architecture,
        "proven": list(family.proven),
    }
