"""Observers: code that is notified of what the engine does, without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qairt.engine.record.events import Event
    from qairt.engine.stage import AnyStage, StageConfig, StageInput, StageOutput


class StageObserver:
    """Base of observers; override the hooks you need. Called from the engine's threads, one call at a time."""

    def run_before_stage(self, stage: AnyStage, stage_config: StageConfig, stage_input: StageInput) -> None:
        """The first item of a stage is about to run; `stage_input` is what it reads, of type `stage.input_type`."""

    def run_after_stage(
        self,
        stage: AnyStage,
        stage_config: StageConfig,
        stage_input: StageInput,
        stage_output: StageOutput,
    ) -> None:
        """The last item of a stage is finished: its input, and its output of type `stage.output_type`."""

    def on_event(self, event: Event) -> None:
        """Any event of the run."""

    def get_report(self) -> dict[str, Any]:
        """The observations as plain data; `metrics` holds what goes into `metrics.json`, by stage."""
        return {}

    def reset(self) -> None:
        """Forget all observations."""
