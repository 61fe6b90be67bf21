"""What a stage says a model answered, one line of JSON each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prediction(_Record):
    """A line of `predictions.jsonl`."""

    prompt: str
    text_raw: str
    text_clean: str
    prefill_ms: float
    decode_ms: float
    tokens: int
    tokens_per_s: float | None
