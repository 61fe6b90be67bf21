"""Optional, after `model_loading`: how fast the float model runs on this machine, and what takes time and memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import metadata

from qairt.engine.stage import (
    AnyStage,
    Batch,
    Context,
    Env,
    Expansion,
    KeyFacts,
    OutputContext,
    Stage,
    Task,
    register_stage,
)
from qairt.stages.facts import model_of
from qairt.stages.float_profile.workload import (
    ProfiledModel,
    ProfilerInput,
    TorchProfilerConfig,
    require_float_model,
)


@register_stage
class TorchProfiler(Stage[TorchProfilerConfig, ProfilerInput, ProfiledModel]):
    """Answer prompts with the float model: warm up, measure, then run once more under torch.profiler.

    1. Timings are taken without the profiler, which slows everything down; operators are counted with it.
    2. The machine's peak is measured in the same item.
    3. It is a side branch and runs alone: later stages take the output of the stage before it.
    4. A measurement is valid for one machine and one version of torch, so both are part of the key.
    """

    name = "torch_profiler"
    requires = ("model_loading",)
    is_side_branch = True

    def validate(self, before: Sequence[AnyStage], after: Sequence[AnyStage]) -> None:
        super().validate(before, after)
        require_float_model(self.name, before)

    def check(self, env: Env) -> None:
        self.config.check_device(self.name)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        paths = {"model": model_of(env).source}
        estimate = self.config.estimate(env, self.config.warmup + self.config.repeats + self.config.enable)
        return Expansion([Task(coord=coord, sources=(coord,), paths=paths, estimate=estimate) for coord in batch])

    def facets_read(self) -> Collection[str]:
        return self.config.facets_read()

    def cache_key_extras(self, env: Env) -> KeyFacts:
        from qairt.stages.float_profile.hardware import identity

        return (("torch", metadata.version("torch")), ("machine", identity()))

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        return {"work": self.config.describe(), "profiled": "yes" if self.config.enable else "no, timings only"}

    def run(self, task: Task, context: Context[TorchProfilerConfig, ProfilerInput]) -> ProfiledModel:
        from qairt.stages.float_profile.measure import profile_model

        return profile_model(task.paths["model"], context)

    def write_predictions(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.float_profile.pages import read_profile, write_predictions

        strip = context.model.prediction.strip_special_tokens
        write_predictions(read_profile(_only(items)), context.directory, strip_special_tokens=strip)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.float_profile.pages import write_pages

        # `strip_special_tokens` is defined only if predictions are written.
        strip = context.predictions is None or context.model.prediction.strip_special_tokens
        write_pages(_only(items), context.directory, strip_special_tokens=strip, settings=context.model.visualization)


def _only(items: Batch) -> ProfiledModel:
    (item,) = items.values()
    assert isinstance(item.output, ProfiledModel)
    return item.output
