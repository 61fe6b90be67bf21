"""What is measured of the float model: prompts, lengths, repetitions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from qairt.engine.stage import Artifact, StageConfig, StageInput, StageOutput
from qairt.errors import ToolchainNotAvailable

PROMPTS = (
    "Why is the sky blue?",
    "Sum this up in one sentence: A lighthouse keeper on a small island wrote down the weather every evening for forty "
    "years. When the light was automated he was asked to leave, but he stayed on as the island's only postman. The "
    "notebooks were found much later in the lamp room, and sailors' children who grew up on the mainland came to read "
    "what the wind had been on the days their fathers were at sea.",
)


class WorkloadConfig(StageConfig):
    """What the float model is asked, and how often."""

    prompts: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: list(PROMPTS))
    """Each is answered by itself."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 32
    """An answer is cut off there."""
    warmup: Annotated[int, Field(ge=0)] = 1
    """Times all prompts are answered before anything is measured."""
    repeats: Annotated[int, Field(gt=0)] = 3
    """Times all prompts are answered by the clock."""
    chat: bool | None = None
    """Put prompts into the model's chat template; where it has one, when left out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where torch can use one."""

    @field_validator("prompts")
    @classmethod
    def _not_blank(cls, prompts: list[str]) -> list[str]:
        for place, prompt in enumerate(prompts, 1):
            if not prompt.strip():
                raise ValueError(f"prompt {place} is empty")
        return prompts

    def check_device(self, stage: str) -> None:
        """
        Raises:
            ToolchainNotAvailable: a GPU is asked for, and there is none.
        """
        from qairt.stages.float_profile.hardware import cuda_missing

        missing = cuda_missing() if self.device == "cuda" else None
        if missing is not None:
            raise ToolchainNotAvailable(
                missing,
                where=f"stages.{stage}.device",
                remedy="set it to cpu, or to auto to use a GPU only where there is one",
            )


class TorchProfilerConfig(WorkloadConfig):
    """How the float model is measured."""

    enable: bool = True
    """Record operators with torch.profiler; false only takes times, as under another profiler."""
    profiled_tokens: Annotated[int, Field(gt=0)] = 4
    """Tokens of each answer that are recorded: one of a 30-layer model is some 6,000 operators."""


class ProfilerInput(StageInput):
    model: Path
    tokenizer: Path


class ProfiledModel(StageOutput):
    profile: Annotated[Path, Artifact("profile")]
    """Everything that was found, JSON (`qairt.stages.float_profile.record.Profile`)."""
    predictions: Path
    """The answers and what they took, JSON lines."""
    memory: Path
    """The process's memory over time, JSON (`qairt.stages.float_profile.memory_trace.MemoryTimeline`)."""
    operators: Path | None = None
    """Operator tables, JSON; this and the next two are None where torch.profiler was switched off."""
    operators_markdown: Path | None = None
    """The top operators by self time and by memory."""
    trace: Path | None = None
    """Chrome trace, gzipped: open it in Perfetto or chrome://tracing."""
