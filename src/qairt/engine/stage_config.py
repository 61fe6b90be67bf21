"""The settings of a stage, and how they differ by coordinate."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from qairt.engine.axes import Coord
from qairt.recipe.output_settings import OutputSettings


class Override(BaseModel):
    """One entry of a stage's `overrides`: settings for the coordinates that match."""

    model_config = ConfigDict(extra="forbid")

    where: dict[str, int]
    set: dict[str, object]


class StageConfig(BaseModel):
    """Settings of a stage; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    not_in_key: ClassVar[frozenset[str]] = frozenset({"overrides", "output"})
    """Fields that do not change what an item holds: lists of axis values, and where reports go."""

    output: OutputSettings = Field(default_factory=OutputSettings)
    """Predictions and pictures, and where they are written; a change reruns no item."""
    overrides: list[Override] = Field(default_factory=list)
    """Settings that differ by coordinate: `[{where: {split: 5}, set: {act_bitwidth: 8}}]`."""

    @field_validator("overrides")
    @classmethod
    def _only_per_item_settings(cls, overrides: list[Override]) -> list[Override]:
        for name in ("output", "overrides"):
            if any(name in override.set for override in overrides):
                raise ValueError(f"{name} applies to the whole stage and cannot differ by coordinate")
        return overrides

    def at(self, coord: Coord) -> Self:
        """The settings that apply at `coord`."""
        position = dict(coord)
        changes: dict[str, object] = {}
        for override in self.overrides:
            if all(position.get(axis) == value for axis, value in override.where.items()):
                changes |= override.set
        if not changes:
            return self
        kept = {name: getattr(self, name) for name in self.model_fields_set if name != "overrides"}
        return type(self).model_validate(kept | changes)

    def key_fields(self) -> dict[str, JsonValue]:
        """The settings that are part of the cache key."""
        return self.model_dump(mode="json", exclude=set(self.not_in_key))
