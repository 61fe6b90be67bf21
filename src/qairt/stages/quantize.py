"""Stage 8: each part quantized."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from qairt.engine.axes import value_of
from qairt.engine.stage import (
    AnyStage,
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputContext,
    PipelinePerformanceWarning,
    Stage,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import RecipeError
from qairt.stages.facts import has_model, settings_of
from qairt.stages.split_model import part_at
from qairt.stages.toolchain_choice import (
    ToolchainChoice,
    check_toolchain,
    paths_of,
    require_tools,
    toolchain_of,
    version_of,
)


class QuantizeConfig(ToolchainChoice):
    """Bits of what the encodings do not already say, and which tools write the DLC."""

    act_bitwidth: Annotated[int, Field(ge=8, le=16)] = 16
    """Activations; must agree with the encodings."""
    bias_bitwidth: int = 32


class QuantizeInput(StageInput):
    onnx: Path
    weights: Path
    encodings: Path
    float_dlc: Path | None = None
    test_vectors: Path | None = None


class QuantizedPart(StageOutput):
    dlc: Annotated[Path | None, Artifact("DLC")] = None
    """None for `backend: CPU`."""
    quantized_onnx: Annotated[Path, Artifact("quantized ONNX")]
    quantized_weights: Path
    """Integer weights; the same bytes for every AR of a part."""
    signature: Path
    """Inputs and outputs with their encodings."""


@register_stage
class Quantize(Stage[QuantizeConfig, QuantizeInput, QuantizedPart]):
    """Put every tensor on its grid: quantized ONNX, and the quantized DLC made from it.

    1. A tensor without an encoding is an error; nothing is invented.
    2. Weights are rounded on exactly the grid that the technique chose.
    3. With `toolchain: sdk` only the DLC is the vendor's: the quantized ONNX is what the CPU runs and what the binary
       is compared with.
    """

    name = "quantize"
    requires = ("split_model",)

    def validate(self, before: Sequence[AnyStage], after: Sequence[AnyStage]) -> None:
        super().validate(before, after)
        if not any(stage.name == "mha_to_sha_conversion" for stage in before):
            warnings.warn(
                "quantize: without mha_to_sha_conversion before it, all heads share one operation: slow on the NPU",
                PipelinePerformanceWarning,
                stacklevel=2,
            )

    def expand(self, batch: Batch, env: Env) -> Expansion:
        tasks = []
        for coord in batch:
            size = part_at(coord, env).weight_bytes
            estimate = Estimate(bytes=size // 2, seconds=2 + size / 3e7, peak_ram=300_000_000 + 3 * size)
            tasks.append(
                Task(
                    coord=coord,
                    sources=(coord,),
                    params={"backend": settings_of(env).backend},
                    paths=paths_of(self.name, env),
                    estimate=estimate,
                )
            )
        return Expansion(tasks)

    def artifact_kinds(self, env: Env) -> Counter[str]:
        kinds = super().artifact_kinds(env)
        if settings_of(env).backend == "CPU":
            del kinds["DLC"]
        return kinds

    def check(self, env: Env) -> None:
        if self.config.output.prediction.enable and not has_model(env):
            raise RecipeError(
                "predictions need a tokenizer, and a recipe without a model has none",
                where="stages.quantize.output.prediction.enable",
                remedy="set model_id_or_path, or leave predictions out",
            )
        if settings_of(env).backend == "HTP":
            check_toolchain(self.name, env)

    def check_tools(self, env: Env) -> None:
        if settings_of(env).backend == "HTP":
            require_tools(self.name, env)

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        if settings_of(env).backend == "CPU":
            return ()
        return version_of(self.name, env)

    def run(self, task: Task, context: Context[QuantizeConfig, QuantizeInput]) -> QuantizedPart:
        from qairt.graph import files
        from qairt.graph.qdq import quantize as qdq
        from qairt.graph.qdq.signature import signature_of
        from qairt.quant.encodings_json import read_encodings

        source, directory = context.input, context.directory
        name = f"{source.onnx.stem}_quantized"
        onnx, weights = directory / f"{name}.onnx", directory / "quantized_weights.bin"
        context.progress(0.0, "rounding weights")
        encodings = read_encodings(source.encodings.read_text())
        model = qdq.quantize_graph(files.load(source.onnx), encodings, weights)
        files.save(model, onnx)
        signature = directory / "signature.json"
        described = signature_of(model, encodings, ar=value_of(task.coord, "ar"))
        described.write(signature)
        dlc = None
        if task.params["backend"] == "HTP":
            from qairt.toolchain.base import PartToQuantize

            dlc = directory / f"{name}.dlc"
            context.progress(0.2, "writing the quantized DLC")
            part = PartToQuantize(
                quantized_onnx=onnx,
                float_onnx=source.onnx,
                signature=described,
                float_dlc=source.float_dlc,
                test_vectors=source.test_vectors,
                act_bitwidth=context.config.act_bitwidth,
                bias_bitwidth=context.config.bias_bitwidth,
            )
            toolchain_of(context.config, task.paths, threads=context.threads).quantize(part, dlc)
        return QuantizedPart(dlc=dlc, quantized_onnx=onnx, quantized_weights=weights, signature=signature)

    def write_predictions(self, items: Batch, place: OutputContext) -> None:
        from qairt.stages.quantize_predictions import write_answers

        write_answers(items, place)

    def write_visualization(self, items: Batch, place: OutputContext) -> None:
        from qairt.amounts import size
        from qairt.stages.pictures import svg

        rows = {}
        for coord, item in items.items():
            assert isinstance(item.output, QuantizedPart)
            bytes_ = item.output.quantized_weights.stat().st_size
            rows[value_of(coord, "split")] = (f"part {value_of(coord, 'split')}", float(bytes_), size(bytes_))
        drawn = svg.bars("Quantized weights of each part, the same for all its graphs", [*rows.values()])
        (place.directory / "quantized_sizes.svg").write_text(drawn, encoding="utf-8")
        if place.predictions is not None:
            from qairt.stages.quantize_predictions import write_page

            write_page(place.predictions, place.directory)
