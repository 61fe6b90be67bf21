"""The decoder families that are supported, and what is said about any other."""

from __future__ import annotations

from qairt.errors import ModelError
from qairt.model.config import Family

ARCHITECTURES: dict[Family, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Family (`model_type` in config.json) -> its class in `architectures`."""


def unknown_architecture(name: str, where: str) -> ModelError:
    """The error for a model that is none of these."""
    supported = ", ".join(f"{family} ({architecture})" for family, architecture in ARCHITECTURES.items())
    return ModelError(f"architecture {name!r} is not supported", where=where, remedy=f"supported: {supported}")
