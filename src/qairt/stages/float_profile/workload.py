"""The workload that profiles the float model: prompts, lengths, repeats. Shared by `torch_profiler` and `nsys`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from qairt.amounts import count
from qairt.engine.stage import AnyStage, Artifact, Env, Estimate, StageConfig, StageInput, StageOutput
from qairt.errors import ContractViolation, ToolchainNotAvailable
from qairt.stages.facets import CHAT_TEMPLATE, GENERATION, GRAPH, TOKENIZER, WEIGHTS
from qairt.stages.facts import model_of

PROMPTS = (
    "Why is the sky blue?",
    "Sum this up in one sentence: A lighthouse keeper on a small island wrote down the weather every evening for forty "
    "years. When the light was automated he was asked to leave, but he stayed on as the island's only postman. The "
    "notebooks were found much later in the lamp room, and sailors' children who grew up on the mainland came to read "
    "what the wind had been on the days their fathers were at sea.",
)


class WorkloadConfig(StageConfig):
    """Which prompts the float model answers, and how often."""

    prompts: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: list(PROMPTS))
    """Each is answered on its own."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 32
    """Maximum length of an answer."""
    warmup: Annotated[int, Field(ge=0)] = 1
    """Untimed passes over all prompts, before the timed ones."""
    repeats: Annotated[int, Field(gt=0)] = 3
    """Timed passes over all prompts."""
    chat: bool | None = None
    """Apply the model's chat template. Default: if the model has one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if torch can use one."""

    @field_validator("prompts")
    @classmethod
    def _not_blank(cls, prompts: list[str]) -> list[str]:
        for number, prompt in enumerate(prompts, 1):
            if not prompt.strip():
                raise ValueError(f"prompt {number} is empty")
        return prompts

    def facets_read(self) -> Collection[str]:
        """What a workload reads of the model: everything, but for a chat template that is not applied."""
        return (WEIGHTS, GRAPH, TOKENIZER, GENERATION, *([] if self.chat is False else [CHAT_TEMPLATE]))

    def check_device(self, stage: str) -> None:
        """
        Raises:
            ToolchainNotAvailable: `device` is cuda and there is no GPU.
        """
        from qairt.stages.float_profile.hardware import cuda_missing

        missing = cuda_missing() if self.device == "cuda" else None
        if missing is not None:
            raise ToolchainNotAvailable(
                missing,
                where=f"stages.{stage}.device",
                remedy="set it to cpu, or to auto to use a GPU if there is one",
            )

    def describe(self) -> str:
        """`2 prompts, 32 tokens each; 1 warm-up, 3 timed`."""
        what = f"{count(len(self.prompts), 'prompt')}, {self.max_new_tokens} tokens each"
        return f"{what}; {self.warmup} warm-up, {self.repeats} timed"

    def estimate(self, env: Env, passes: int) -> Estimate:
        """Cost of `passes` passes over all prompts: the float model reads all its weights for every token."""
        from qairt.stages.float_profile.work import weight_bytes

        weights = weight_bytes(model_of(env).config)
        tokens = passes * len(self.prompts) * (self.max_new_tokens + 4)
        return Estimate(
            bytes=5_000_000,
            seconds=8 + weights / 5e8 + tokens * (0.004 + weights / 1e10),
            peak_ram=1_200_000_000 + int(1.3 * weights),
            threads=64,
            alone=True,
        )


class TorchProfilerConfig(WorkloadConfig):
    """How the float model is profiled."""

    enable: bool = True
    """Record operators with torch.profiler. false: timings only, as needed under another profiler."""
    profiled_tokens: Annotated[int, Field(gt=0)] = 4
    """Tokens recorded of each answer; one token of a 30-layer model is about 6,000 operator calls."""


class ProfilerInput(StageInput):
    model: Path
    tokenizer: Path


class ProfiledModel(StageOutput):
    profile: Annotated[Path, Artifact("profile")]
    """All results, JSON (`qairt.stages.float_profile.record.Profile`)."""
    predictions: Path
    """Answers with their timings, JSON lines."""
    memory: Path
    """Memory use of the process over time, JSON (`qairt.stages.float_profile.memory_trace.MemoryTimeline`)."""
    operators: Path | None = None
    """Operator tables, JSON. This and the next two are None if torch.profiler was disabled."""
    operators_markdown: Path | None = None
    """The top operators by self time and by memory."""
    trace: Path | None = None
    """Chrome trace, gzipped: open it in Perfetto or chrome://tracing."""


def require_float_model(stage: str, before: Sequence[AnyStage]) -> None:
    """
    Raises:
        ContractViolation: a stage before `stage` already changed the model.
    """
    others = [other.name for other in before if other.name != "model_loading" and not other.is_side_branch]
    if others:
        raise ContractViolation(
            f"it profiles the float model as loaded, but {others[0]} comes before it",
            where=f"stages.{stage}",
            remedy=f"put {stage} right after model_loading",
        )
