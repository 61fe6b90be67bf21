"""Stage 7: each part as a float DLC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputContext,
    Stage,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.stages.split_model import part_at
from qairt.stages.toolchain_choice import (
    ToolchainChoice,
    check_toolchain,
    paths_of,
    require_tools,
    toolchain_of,
    version_of,
)


class ConvertConfig(ToolchainChoice):
    """Which tools convert."""


class ConvertInput(StageInput):
    onnx: Path
    weights: Path
    encodings: Path | None = None


class FloatDlc(StageOutput):
    float_dlc: Annotated[Path, Artifact("DLC")]


@register_stage
class Convert(Stage[ConvertConfig, ConvertInput, FloatDlc]):
    """Convert ONNX (single heads where there is attention) to a float DLC, and look into what was written.

    `qairt-converter` gets the encodings too, for `qairt-quantizer` to find them in the DLC.
    """

    name = "convert"
    requires = ("split_model",)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        tasks = []
        for coord in batch:
            size = part_at(coord, env).weight_bytes
            estimate = Estimate(bytes=size, seconds=1 + size / 3e7, peak_ram=300_000_000 + 4 * size)
            tasks.append(Task(coord=coord, sources=(coord,), paths=paths_of(self.name, env), estimate=estimate))
        return Expansion(tasks)

    def check(self, env: Env) -> None:
        check_toolchain(self.name, env)

    def check_tools(self, env: Env) -> None:
        require_tools(self.name, env)

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        return version_of(self.name, env)

    def run(self, task: Task, context: Context[ConvertConfig, ConvertInput]) -> FloatDlc:
        source = context.input
        dlc = context.directory / f"{source.onnx.stem}.dlc"
        context.progress(0.0, "writing the float DLC")
        toolchain = toolchain_of(context.config, task.paths, threads=context.threads)
        toolchain.convert(source.onnx, dlc, encodings=source.encodings)
        return FloatDlc(float_dlc=dlc)

    def write_visualization(self, items: Batch, place: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_sizes

        outputs = (item.output for item in items.values())
        dlcs = [output.float_dlc for output in outputs if isinstance(output, FloatDlc)]
        draw_sizes("Float DLCs", {dlc.stem: [dlc] for dlc in dlcs}, place.directory / "dlc_sizes.svg")
