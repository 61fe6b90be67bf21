"""The settings of how activations are measured. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Method = Literal["minmax", "percentile", "mse"]


class ActivationRanges(BaseModel):
    """How the range of an activation follows from the values that the calibration text gave it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = "minmax"
    """minmax: the extremes. percentile: all but the outermost values. mse: the range whose grid has the least squared
    error. What the first token of a sequence gives is never clipped: it is what all others attend to."""
    kv_cache: Method | None = None
    """The same for keys and values, which have 8 bits; as `method` when left out."""
    percentile: Annotated[float, Field(ge=50, le=100)] = 99.99
    """Percent of a tensor's values that a range holds on each side (percentile)."""

    def model_post_init(self, context: Any) -> None:
        changed = self.percentile != type(self).model_fields["percentile"].default
        if changed and "percentile" not in (self.method, self.kv_cache):
            raise ValueError("percentile: only the method percentile has it")

    def method_of(self, *, cached: bool) -> Method:
        """The method for keys and values (`cached`), or for all other tensors."""
        return self.kv_cache or self.method if cached else self.method
