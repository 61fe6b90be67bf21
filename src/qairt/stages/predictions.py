"""Records of a model's answers, `predictions.jsonl`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenRecord(BaseModel):
    """Immutable; unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prediction(FrozenRecord):
    """One line of `predictions.jsonl`."""

    prompt: str
    text_raw: str
    text_clean: str
    prefill_ms: float
    decode_ms: float
    tokens: int
    tokens_per_s: float | None
