"""The settings of a stage, and how they differ by coordinate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import ConfigDict, Field, JsonValue, field_validator

from qairt.engine.axes import Coord
from qairt.recipe.output_settings import OutputSettings
from qairt.recipe.settings import Keep
from qairt.settings_model import SettingsModel


class Override(SettingsModel):
    """One entry of a stage's `overrides`: settings for the coordinates that match."""

    where: dict[str, int]
    set: dict[str, object]


class StageConfig(SettingsModel):
    """Settings of a stage; unknown keys are an error."""

    model_config = ConfigDict(validate_default=True)

    not_in_key: ClassVar[frozenset[str]] = frozenset({"overrides", "output", "enable_cache", "checkpoint", "keep"})
    """Fields that do not change what an item holds: lists of axis values, where reports go, and what is kept."""

    output: OutputSettings = Field(default_factory=OutputSettings)
    """Predictions and pictures, and where they are written; a change reruns no item."""
    enable_cache: bool | None = None
    """Whether finished items are reused. False: every run builds them, and deletes them when it has ended unless
    `checkpoint` keeps them or the stage is the last. Default: the recipe's `enable_cache`."""
    checkpoint: bool | None = None
    """Whether results are kept although `enable_cache` is false. Default: the recipe's `checkpoint`."""
    keep: Keep | None = None
    """Which finished items keep their large files when nothing needs them any more. all: all; results: those of
    interest by themselves, such as quantized graphs and binaries; bundle: what quantization chose, and the last
    stage's. The others are rebuilt when they are asked for. Default: the recipe's `keep`."""
    overrides: list[Override] = Field(default_factory=list)
    """Settings that differ by coordinate: `[{where: {split: 5}, set: {act_bitwidth: 8}}]`."""

    @field_validator("overrides")
    @classmethod
    def _only_per_item_settings(cls, overrides: list[Override]) -> list[Override]:
        for name in ("output", "overrides", "enable_cache", "checkpoint", "keep"):
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
        return self.changed(changes) if changes else self

    def changed(self, changes: Mapping[str, object]) -> Self:
        """These settings with some others, as an override sets them.

        Raises:
            pydantic.ValidationError: one is unknown or wrong.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set if name != "overrides"}
        here = type(self).model_validate(kept | dict(changes))
        for name in type(self).model_fields.keys() - kept.keys() - changes.keys() - {"overrides"}:
            setattr(here, name, getattr(self, name))  # a default: a file's is absolute by now
            here.model_fields_set.discard(name)
        return here

    def key_fields(self) -> dict[str, JsonValue]:
        """The settings that are part of the cache key."""
        return self.model_dump(mode="json", exclude=set(self.not_in_key))
