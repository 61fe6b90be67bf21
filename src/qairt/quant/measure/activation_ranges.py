"""The settings for measuring activation ranges. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from qairt.settings_model import SettingsModel

Method = Literal["minmax", "percentile", "mse"]


class ActivationRanges(SettingsModel):
    """How the range of an activation is derived from its values on the calibration text."""

    model_config = ConfigDict(frozen=True)

    method: Method = "minmax"
    """minmax: the extremes. percentile: all but the outermost values. mse: the range whose grid has the least squared
    error. Values of a sequence's first token are never clipped, because all other tokens attend to it."""
    kv_cache: Method | None = None
    """The same for keys and values, which have 8 bits; `method` if omitted."""
    percentile: Annotated[float, Field(ge=50, le=100)] = 99.99
    """Percent of a tensor's values that the range covers on each side (percentile)."""

    def model_post_init(self, context: object) -> None:
        changed = self.percentile != type(self).model_fields["percentile"].default
        if changed and "percentile" not in (self.method, self.kv_cache):
            raise ValueError("percentile: only used by the method percentile")

    def method_of(self, *, cached: bool) -> Method:
        """The method for keys and values (`cached`), or for all other tensors."""
        return self.kv_cache or self.method if cached else self.method
