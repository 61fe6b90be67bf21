"""`qairt models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.cli.console import emit, emit_json, table
from qairt.cli.options import Json

if TYPE_CHECKING:
    from qairt.model.families.family import EmbeddingModels, Family, Gguf, Tier

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
    graphs agree with the CPU. Genie: a bundle answers with the CPU's tokens. Embedding models have a row of their own,
    where the vector of a text stands for logits and tokens.

    \b
    Examples:
      qairt models
      qairt models --json
    """
    from qairt.model.families import FAMILIES

    if as_json:
        emit_json({"families": [_facts(family) for family in FAMILIES.values()]})
        return
    rows = []
    for name, family in FAMILIES.items():
        rows.append(_row(name, family, family.gguf is not None))
        if family.embedding is not None:
            rows.append(_row(f"{name} (embedding)", family.embedding, family.gguf is not None))
    for line in table(rows, header=("family", "models", "besides Llama", "GGUF", "proven")):
        emit(line)


def _row(name: str, family: Family | EmbeddingModels, has_gguf: bool) -> tuple[str, ...]:
    proven = ", ".join(_PROVEN[tier] for tier in family.proven)
    return name, family.models, ", ".join(family.features) or "none", "yes" if has_gguf else "no", proven


def _facts(family: Family) -> dict[str, object]:
    return {
        "name": family.name,
        "architecture": family.architecture,
        "models": family.models,
        "features": list(family.features),
        "gguf": None if family.gguf is None else family.gguf.architecture,
        "proven": list(family.proven),
        "embedding": None if family.embedding is None else _embedding_facts(family.embedding, family.gguf),
    }


def _embedding_facts(embedding: EmbeddingModels, of_family: Gguf | None) -> dict[str, object]:
    gguf = embedding.gguf or of_family
    return {
        "models": embedding.models,
        "features": list(embedding.features),
        "gguf": None if gguf is None else gguf.architecture,
        "proven": list(embedding.proven),
    }
