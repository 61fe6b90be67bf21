"""The supported decoder families, and the error for any other."""

from __future__ import annotations

from collections.abc import Collection

from qairt.errors import ModelError
from qairt.model.config import Family

ARCHITECTURES: dict[Family, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Family (`model_type` in config.json) -> its class in `architectures`."""


def unknown_architecture(name: str, where: str, among: Collection[Family] = tuple(ARCHITECTURES)) -> ModelError:
    """The error for an unsupported model.

    Args:
        among: the families supported in this kind of file.
    """
    supported = ", ".join(f"{family} ({ARCHITECTURES[family]})" for family in ARCHITECTURES if family in among)
    return ModelError(f"architecture {name!r} is not supported", where=where, remedy=f"supported: {supported}")
