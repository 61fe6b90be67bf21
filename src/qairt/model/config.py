"""Everything that distinguishes one supported decoder from another, in one flat record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Token = Annotated[int, Field(ge=0, lt=1 << 31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Family = Literal["llama", "mistral", "phi3", "qwen2", "qwen3"]


class DecoderConfig(BaseModel):
    """A decoder's shape, normalised from `config.json` or a GGUF header (see `qairt.model.describe`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: Positive
    rope_theta: Positive
    rope_scaling: dict[str, JsonValue] | None = None
    """Normalised by `qairt.model.rope_scaling`: `rope_type` is one of linear, dynamic, yarn, llama3, or
    frequency_factors; None for plain rotary."""
    tie_word_embeddings: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    max_position_embeddings: int = 2048
    sliding_window: int | None = None
    """Tokens that the layers with windowed attention look back; None if every layer attends to the whole context. The
    decoder has no windows, so a longer context would be computed wrongly and must be refused."""
    bos_token_id: Token | None = None
    eos_token_ids: tuple[Token, ...] = ()

    @property
    def longest_context(self) -> int | None:
        """Tokens that the rotary embedding reaches; None if it adapts to any length."""
        scaling = self.rope_scaling or {}
        factor, trained_at = scaling.get("factor"), scaling.get("original_max_position_embeddings")
        if scaling.get("rope_type") == "dynamic":
            return None
        if isinstance(factor, int | float) and isinstance(trained_at, int):
            return max(self.max_position_embeddings, int(factor * trained_at))
        return self.max_position_embeddings
