"""The settings of a pipeline's stages, to read and to assign."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qairt.engine.stage import AnyStage, StageConfig


class LiveConfigs:
    """The settings of a pipeline's stages, as attributes named like the stages."""

    _stages: dict[str, AnyStage]

    def __init__(self, stages: Iterable[AnyStage]) -> None:
        object.__setattr__(self, "_stages", {stage.name: stage for stage in stages})

    def __getattr__(self, name: str) -> Any:
        return self._find(name).config

    def __setattr__(self, name: str, config: StageConfig) -> None:
        self._find(name).config = config

    def __dir__(self) -> list[str]:
        return list(self._stages)

    def _find(self, name: str) -> AnyStage:
        stages: dict[str, AnyStage] = object.__getattribute__(self, "__dict__").get("_stages", {})
        if name not in stages:
            raise AttributeError(f"there is no stage {name} in this recipe; its stages: {', '.join(stages)}")
        return stages[name]
