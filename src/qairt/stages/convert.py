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
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.stages.split_model import part_at


class ConvertConfig(StageConfig):
    """`convert` has no settings."""


class ConvertInput(StageInput):
    onnx: Path
    weights: Path


class FloatDlc(StageOutput):
    float_dlc: Annotated[Path, Artifact("DLC")]


@register_stage
class Convert(Stage[ConvertConfig, ConvertInput, FloatDlc]):
    """Convert ONNX (single heads where there is attention) to a float DLC, and look into what was written."""

    name = "convert"
    requires = ("split_model",)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        tasks = []
        for coord in batch:
            size = part_at(coord, env).weight_bytes
            estimate = Estimate(bytes=size, seconds=1 + size / 3e7, peak_ram=300_000_000 + 4 * size)
            tasks.append(Task(coord=coord, sources=(coord,), estimate=estimate))
        return Expansion(tasks)

    def check(self, env: Env) -> None:
        from qairt.toolchain.qnn import require

        require()

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        from qairt.toolchain.qnn import version

        return (("toolchain", version()),)

    def run(self, task: Task, context: Context[ConvertConfig, ConvertInput]) -> FloatDlc:
        from qairt.toolchain import qnn

        onnx = context.input.onnx
        dlc = context.directory / f"{onnx.stem}.dlc"
        context.progress(0.0, "writing the float DLC")
        qnn.convert(onnx, dlc)
        return FloatDlc(float_dlc=dlc)
