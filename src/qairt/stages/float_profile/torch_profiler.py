"""Optional, after `model_loading`: how fast the float model is on this machine, and where its time and memory go."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

from qairt.amounts import count
from qairt.engine.stage import (
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputPlace,
    Stage,
    Task,
    register_stage,
)
from qairt.errors import ContractViolation
from qairt.stages.facts import model_of
from qairt.stages.float_profile.workload import ProfiledModel, ProfilerInput, TorchProfilerConfig, WorkloadConfig


@register_stage
class TorchProfiler(Stage[TorchProfilerConfig, ProfilerInput, ProfiledModel]):
    """Answer prompts with the float model: warm up, take times, then once more under torch.profiler.

    1. Times are taken without the profiler, which slows everything down; operators are counted with it.
    2. What the machine can do at most is measured in the same item.
    3. Nothing runs beside it, and nothing is made from it: the stages after it take what stood before it.
    4. A measurement holds for the machine and the torch it was made with, so both are part of the key.
    """

    name = "torch_profiler"
    requires = ("model_loading",)
    aside = True

    def check(self, env: Env) -> None:
        self.config.check_device(self.name)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        paths = {"model": model_of(env).source}
        passes = self.config.warmup + self.config.repeats + self.config.enable
        estimate = workload_estimate(self.config, env, passes)
        return Expansion([Task(coord=coord, sources=(coord,), paths=paths, estimate=estimate) for coord in batch])

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        from qairt.stages.float_profile.hardware import identity

        return (("torch", metadata.version("torch")), ("machine", identity()))

    def introspect(self, batch: Batch, env: Env, token: Any) -> dict[str, Any]:
        return {"work": described(self.config), "profiled": "yes" if self.config.enable else "no, times only"}

    def validate(self, before: Sequence[Stage[Any, Any, Any]], after: Sequence[Stage[Any, Any, Any]]) -> None:
        super().validate(before, after)
        require_float_model(self.name, before)

    def run(self, task: Task, context: Context[TorchProfilerConfig, ProfilerInput]) -> ProfiledModel:
        from qairt.stages.float_profile.measure import profile_model

        return profile_model(task.paths["model"], context)

    def write_predictions(self, items: Batch, place: OutputPlace) -> None:
        from qairt.stages.float_profile.pages import read_profile, write_predictions

        strip = place.model.prediction.strip_special_tokens
        write_predictions(read_profile(_only(items)), place.directory, strip_special_tokens=strip)

    def write_visualization(self, items: Batch, place: OutputPlace) -> None:
        from qairt.stages.float_profile.pages import write_pages

        # How predictions are written is known to matter to a page only while they are written.
        strip = place.predictions is None or place.model.prediction.strip_special_tokens
        write_pages(_only(items), place.directory, strip_special_tokens=strip, settings=place.model.visualization)


def _only(items: Batch) -> ProfiledModel:
    (item,) = items.values()
    assert isinstance(item.output, ProfiledModel)
    return item.output


def require_float_model(stage: str, before: Sequence[Stage[Any, Any, Any]]) -> None:
    """
    Raises:
        ContractViolation: something was made of the model already.
    """
    others = [other.name for other in before if other.name != "model_loading" and not other.aside]
    if others:
        raise ContractViolation(
            f"it takes the float model as it was loaded, and {others[0]} comes before it",
            where=f"stages.{stage}",
            remedy=f"put {stage} right after model_loading",
        )


def workload_estimate(config: WorkloadConfig, env: Env, passes: int) -> Estimate:
    """What answering all prompts `passes` times costs: a float model reads all its weights for every token."""
    from qairt.stages.float_profile.work import weight_bytes

    weights = weight_bytes(model_of(env).config)
    tokens = passes * len(config.prompts) * (config.max_new_tokens + 4)
    return Estimate(
        bytes=5_000_000,
        seconds=8 + weights / 5e8 + tokens * (0.004 + weights / 1e10),
        peak_ram=1_200_000_000 + int(1.3 * weights),
        threads=64,
        alone=True,
    )


def described(config: WorkloadConfig) -> str:
    """`2 prompts, 32 tokens each; 1 warm-up, 3 timed`."""
    what = f"{count(len(config.prompts), 'prompt')}, {config.max_new_tokens} tokens each"
    return f"{what}; {config.warmup} warm-up, {config.repeats} timed"
