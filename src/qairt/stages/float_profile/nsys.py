"""Optional, after `model_loading`: the float model's workload recorded by NVIDIA Nsight Systems."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

from qairt.engine.run.jobs import Job, import_path
from qairt.engine.stage import (
    AnyStage,
    Artifact,
    Batch,
    Context,
    Env,
    Expansion,
    KeyFacts,
    Stage,
    StageOutput,
    Task,
    read_output,
    register_stage,
)
from qairt.files import copy_small_link_large, files_below
from qairt.recipe.output_settings import ModelVisualization
from qairt.stages.facts import model_of
from qairt.stages.float_profile.nsys_command import find_nsys, run_under_nsys, version_of
from qairt.stages.float_profile.torch_profiler import TorchProfiler
from qairt.stages.float_profile.workload import (
    ProfiledModel,
    ProfilerInput,
    TorchProfilerConfig,
    WorkloadConfig,
    require_float_model,
)

WORKLOAD = Path("tmp", "workload", "torch_profiler")
"""Output folder of the nested run, relative to the item's."""
REPORT = "workload.nsys-rep"


class NsysConfig(WorkloadConfig):
    """The workload to run under Nsight Systems; the same settings as `torch_profiler`."""


class NsysOutput(StageOutput):
    report: Annotated[Path, Artifact("Nsight Systems report")]
    """Open it in Nsight Systems (`nsys-ui`)."""
    workload: Path
    """Folder with the nested run's timings, as `torch_profiler` writes them."""


@register_stage
class Nsys(Stage[NsysConfig, ProfilerInput, NsysOutput]):
    """Run the workload of `torch_profiler` in a child process under `nsys profile`.

    1. torch.profiler is disabled in the child: both use CUPTI, which serves one subscriber only.
    2. On a GPU, prefill and decode are NVTX ranges.
    3. The tests use a stand-in for nsys. Version 2022.4.2 (Debian) was tested by hand on a machine without a GPU: a
       complete run and an interrupted one. GPU recording has not been tested.

    Source: the vendor's pipelines, for the folder of the nested run and for disabling torch.profiler.
    """

    name = "nsys"
    requires = ("model_loading",)
    is_side_branch = True

    def validate(self, before: Sequence[AnyStage], after: Sequence[AnyStage]) -> None:
        super().validate(before, after)
        require_float_model(self.name, before)

    def check(self, env: Env) -> None:
        self._version(env)
        self.config.check_device(self.name)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        paths = {"model": model_of(env).source}
        estimate = self.config.estimate(env, self.config.warmup + self.config.repeats)
        return Expansion([Task(coord=coord, sources=(coord,), paths=paths, estimate=estimate) for coord in batch])

    def facets_read(self) -> Collection[str]:
        return self.config.facets_read()

    def cache_key_extras(self, env: Env) -> KeyFacts:
        from qairt.stages.float_profile.hardware import identity

        return (("toolchain", self._version(env)), ("torch", metadata.version("torch")), ("machine", identity()))

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        return {"work": self.config.describe(), "toolchain": self._version(env)}

    def run(self, task: Task, context: Context[NsysConfig, ProfilerInput]) -> NsysOutput:
        workload = context.directory / WORKLOAD
        workload.mkdir(parents=True)
        settings = context.config.model_dump(exclude={"overrides", "output"})
        (source,) = context.inputs
        job = Job(
            stage=import_path(TorchProfiler),
            config=TorchProfilerConfig(**settings, enable=False).model_dump(mode="json"),
            task=task,
            inputs=[(source, context.input.model_dump(mode="json"))],
            directory=workload,
            resume=context.resume,
            shared=context.shared,
            threads=context.threads,
        )
        report = context.directory / REPORT
        context.progress(0.0, "answering under Nsight Systems")
        run_under_nsys(job, report, cuda=context.config.device != "cpu")
        assert read_output(ProfiledModel, workload).profile.is_file()
        return NsysOutput(report=report, workload=workload)

    def publish(self, items: Batch, directory: Path) -> None:
        """The report and the nested run's folder. Large files are read-only links into the cache; small ones, which may
        be edited, are copies. The nested run's page of answers and plots, `predictions.md`, is among them unless
        `output.visualization.enable` is false."""
        (item,) = items.values()
        assert isinstance(item.output, NsysOutput)
        report, workload = item.output.report, item.output.workload
        copy_small_link_large(report.parent, (report, *files_below(workload)), directory)
        if self.config.output.allows("visualization"):
            from qairt.stages.float_profile.pages import write_pages

            nested = read_output(ProfiledModel, workload)
            write_pages(nested, directory / WORKLOAD, strip_special_tokens=False, settings=ModelVisualization())

    def _version(self, env: Env) -> str:
        return env.once("nsys", lambda: version_of(find_nsys()))
