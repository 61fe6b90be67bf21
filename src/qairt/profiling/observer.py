"""`StageProfilerObserver`: time and memory of every stage, by one pair of snapshots each."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qairt.engine.observers import StageObserver
from qairt.engine.record.events import RunFinished, StageFinished
from qairt.profiling.profiler import ProfilerReport, ResourceProfiler

if TYPE_CHECKING:
    from qairt.engine.record.events import Event
    from qairt.engine.stage import AnyStage, StageConfig, StageInput, StageOutput


class StageProfilerObserver(StageObserver):
    """Records timing and RAM/GPU memory for each pipeline stage, with one `ResourceProfiler`.

    Stages can overlap, so their times can add up to more than the run's.
    """

    def __init__(self) -> None:
        self._profiler = ResourceProfiler()

    def run_before_stage(self, stage: AnyStage, stage_config: StageConfig, stage_input: StageInput) -> None:
        """Capture a snapshot before stage execution."""
        self._profiler.start(stage.name)

    def run_after_stage(
        self,
        stage: AnyStage,
        stage_config: StageConfig,
        stage_input: StageInput,
        stage_output: StageOutput,
    ) -> None:
        """Record timing and memory metrics after stage completion."""
        with suppress(KeyError):  # `reset` was called while the stage ran
            self._profiler.stop(stage.name)

    def on_event(self, event: Event) -> None:
        """Record failed stages too; when a run ends, forget those that were interrupted."""
        if isinstance(event, StageFinished):
            with suppress(KeyError):  # a stage that succeeded is recorded already
                self._profiler.stop(event.stage)
        elif isinstance(event, RunFinished):
            self._profiler.abandon()

    def get_execution_times(self) -> dict[str, float]:
        """Wall-clock seconds by stage, for all stages that succeeded or failed."""
        return {event.name: event.seconds for event in self._profiler.get_report().events}

    def get_metrics(self) -> dict[str, dict[str, float]]:
        """Memory metrics by stage, in MB; GPU metrics are always present, 0.0 when CUDA is unavailable."""
        return {
            event.name: {
                "ram_pss_entry_mb": event.ram_pss_entry_mb,
                "ram_pss_mb": event.ram_pss_mb,
                "ram_pss_peak_mb": event.ram_pss_peak_mb,
                "gpu_memory_allocated_mb": event.gpu_memory_allocated_mb,
                "gpu_memory_peak_mb": event.gpu_memory_peak_mb,
            }
            for event in self._profiler.get_report().events
        }

    def get_observer_report(self) -> ProfilerReport:
        """All timing and memory events."""
        return self._profiler.get_report()

    def get_report(self) -> dict[str, object]:
        """`execution_times` and `metrics`."""
        return {"execution_times": self.get_execution_times(), "metrics": self.get_metrics()}

    def reset(self) -> None:
        """Forget all collected data."""
        self._profiler.reset()
