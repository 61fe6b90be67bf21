"""Observers: code that is told what the engine does, without a part in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qairt.engine.record.events import Event
    from qairt.engine.stage import AnyStage, StageConfig, StageInput, StageOutput


class StageObserver:
    """Base of observers; override what you want to know. Called from the engine's threads, one call at a time."""

    def run_before_stage(self, stage: AnyStage, stage_config: StageConfig, stage_input: StageInput) -> None:
        """The first item of a stage is about to run."""

    def run_after_stage(
        self,
        stage: AnyStage,
        stage_config: StageConfig,
        stage_input: StageInput,
        stage_output: StageOutput,
    ) -> None:
        """The last item of a stage was made; `stage_output` is that item's."""

    def on_event(self, event: Event) -> None:
        """Anything the engine says."""

    def get_report(self) -> dict[str, Any]:
        """What was observed, as plain data."""
        return {}

    def reset(self) -> None:
        """Forget what was observed."""
