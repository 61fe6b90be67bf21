"""The supported decoder families, and the error for any other."""

from __future__ import annotations

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


def unknown_architecture(name: str, where: str) -> ModelError:
    """The error for an unsupported model."""
    supported = ", ".join(f"{family} ({architecture})" for family, architecture in ARCHITECTURES.items())
    return ModelError(f"architecture {name!r} is not supported", where=where, remedy=f"supported: {supported}")
