"""Optional, after `model_loading`: the float model's work as NVIDIA's Nsight Systems sees it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from qairt.engine.run.jobs import Job, import_path
from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Expansion,
    Stage,
    StageOutput,
    Task,
    read_output,
    register_stage,
)
from qairt.files import files_below, replace_folder
from qairt.stages.facts import model_of
from qairt.stages.float_profile.nsys_command import find_nsys, run_under_nsys, version_of
from qairt.stages.float_profile.torch_profiler import TorchProfiler, described, require_float_model, workload_estimate
from qairt.stages.float_profile.workload import ProfiledModel, ProfilerInput, TorchProfilerConfig, WorkloadConfig

WORKLOAD = Path("tmp", "workload", "torch_profiler")
"""Where the nested run leaves what it found, below the item."""
REPORT = "workload.nsys-rep"


class NsysConfig(WorkloadConfig):
    """What the float model is asked under Nsight Systems; the same as for `torch_profiler`."""


class NsysOutput(StageOutput):
    report: Annotated[Path, Artifact("Nsight Systems report")]
    """Open it in Nsight Systems (`nsys-ui`)."""
    workload: Path
    """Folder of what the nested run found by the clock, as `torch_profiler` writes it."""


@register_stage
class Nsys(Stage[NsysConfig, ProfilerInput, NsysOutput]):
    """Run the work of `torch_profiler` once more, in a process of its own that `nsys profile` watches.

    1. In the nested run torch.profiler is switched off: both would ask CUPTI for the same events, which gives them to
       one of them only.
    2. On a GPU, prefill and decode are NVTX ranges.
    3. The tests run it against a program in the place of nsys. A real one, 2022.4.2 of Debian, was tried by hand
       on a machine without a GPU: a whole run, and one that was interrupted. What it records of a GPU was not.

    Source: the folder of the nested run, and why torch.profiler is off there, are seed 003's.
    """

    name = "nsys"
    requires = ("model_loading",)
    aside = True

    def validate(self, before: Sequence[Stage[Any, Any, Any]], after: Sequence[Stage[Any, Any, Any]]) -> None:
        super().validate(before, after)
        require_float_model(self.name, before)

    def check(self, env: Env) -> None:
        self._version(env)
        self.config.check_device(self.name)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        paths = {"model": model_of(env).source}
        estimate = workload_estimate(self.config, env, self.config.warmup + self.config.repeats)
        return Expansion([Task(coord=coord, sources=(coord,), paths=paths, estimate=estimate) for coord in batch])

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        from qairt.stages.float_profile.hardware import identity

        return (("toolchain", self._version(env)), ("torch", metadata.version("torch")), ("machine", identity()))

    def introspect(self, batch: Batch, env: Env, token: Any) -> dict[str, Any]:
        return {"work": described(self.config), "toolchain": self._version(env)}

    def run(self, task: Task, context: Context[NsysConfig, ProfilerInput]) -> NsysOutput:
        workload = context.directory / WORKLOAD
        workload.mkdir(parents=True)
        given = context.config.model_dump(exclude={"overrides", "output"})
        (source,) = context.inputs
        job = Job(
            stage=import_path(TorchProfiler),
            config=TorchProfilerConfig(**given, enable=False).model_dump(mode="json"),
            task=task,
            inputs=[(source, context.input.model_dump(mode="json"))],
            directory=workload,
            resume=context.resume,
            threads=context.threads,
        )
        report = context.directory / REPORT
        context.progress(0.0, "answering under Nsight Systems")
        run_under_nsys(job, report, cuda=context.config.device != "cpu")
        found = read_output(ProfiledModel, workload)
        assert found.profile.is_file()
        return NsysOutput(report=report, workload=workload)

    def publish(self, items: Batch, directory: Path) -> None:
        """The report and the nested run's folder under plain names, `<cache_dir>/nsys`; replaced as a whole.

        A large report is a read-only link into the cache; what is small, and may well be edited, is copied.
        """
        (item,) = items.values()
        assert isinstance(item.output, NsysOutput)
        report, workload = item.output.report, item.output.workload
        told_by = WORKLOAD / "profile.json"  # times were measured: never twice the same
        replace_folder(directory, report.parent, (report, *files_below(workload)), told_by=told_by)

    def _version(self, env: Env) -> str:
        version: str = env.once("nsys", lambda: version_of(find_nsys()))
        return version
