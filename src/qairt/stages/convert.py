"""Stage 7: convert each part to a float DLC."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputContext,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.stages.split_model import part_at
from qairt.stages.toolchain_choice import ToolchainChoice, paths_of, toolchain_of
from qairt.stages.toolchain_stage import ToolchainStage


class ConvertConfig(ToolchainChoice):
    """Which toolchain converts."""


class ConvertInput(StageInput):
    onnx: Path
    weights: Path
    encodings: Path | None = None


class FloatDlc(StageOutput):
    float_dlc: Annotated[Path, Artifact("DLC")]


@register_stage
class Convert(ToolchainStage[ConvertConfig, ConvertInput, FloatDlc]):
    """Convert each part's ONNX graph to a float DLC, and check the DLC.

    `qairt-converter` also writes the encodings into the DLC, for `qairt-quantizer`.
    """

    name = "convert"
    imported_ahead = ("onnx_ir",)
    worth = "intermediate"
    requires = ("split_model",)
    on_demand = True

    def expand(self, batch: Batch, env: Env) -> Expansion:
        tasks, paths = [], paths_of(self.name, env)
        for coord in batch:
            size = part_at(coord, env).weight_bytes
            estimate = Estimate(bytes=size, seconds=1 + size / 3e7, peak_ram=300_000_000 + 4 * size)
            tasks.append(Task(coord=coord, sources=(coord,), paths=paths, estimate=estimate))
        return Expansion(tasks)

    def facets_read(self) -> Collection[str]:
        return ()

    def run(self, task: Task, context: Context[ConvertConfig, ConvertInput]) -> FloatDlc:
        source = context.input
        dlc = context.directory / f"{source.onnx.stem}.dlc"
        context.progress(0.0, "writing the float DLC")
        toolchain = toolchain_of(context.config, task.paths, threads=context.threads)
        toolchain.convert(source.onnx, dlc, encodings=source.encodings)
        return FloatDlc(float_dlc=dlc)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_sizes

        outputs = (item.output for item in items.values())
        dlcs = [output.float_dlc for output in outputs if isinstance(output, FloatDlc)]
        draw_sizes("Sizes of the float DLCs", {dlc.stem: [dlc] for dlc in dlcs}, context.directory / "dlc_sizes.svg")
