"""Stage 8: quantize each part."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import JsonValue

from qairt.amounts import count
from qairt.engine.axes import Coord, value_of
from qairt.engine.stage import (
    AnyStage,
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    KeyFacts,
    OutputContext,
    PipelinePerformanceWarning,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import QuantizationError, RecipeError
from qairt.files import read_text
from qairt.stages.export import adopted_graph
from qairt.stages.facets import CHAT_TEMPLATE, GENERATION, GRAPH, TOKENIZER, model_facets
from qairt.stages.facts import has_model, settings_of
from qairt.stages.prepare_exports import is_embedding
from qairt.stages.quantization import QuantizationConfig
from qairt.stages.split_model import part_at
from qairt.stages.toolchain_choice import ToolchainChoice, paths_of, toolchain_of, uses_sdk
from qairt.stages.toolchain_stage import ToolchainStage


class QuantizeConfig(ToolchainChoice):
    """Bit widths that the encodings do not define, and which toolchain writes the DLC."""

    act_bitwidth: Literal[8, 16] = 16
    """Must match the encodings."""
    bias_bitwidth: Literal[8, 32] = 32

    def key_fields(self) -> dict[str, JsonValue]:
        """The bit widths are told to the quantizer of an SDK only; elsewhere they change nothing."""
        unused = {} if self.toolchain == "sdk" else {"act_bitwidth": 16, "bias_bitwidth": 32}
        return super().key_fields() | unused


class QuantizeInput(StageInput):
    onnx: Path
    weights: Path
    encodings: Path
    float_dlc: Path | None = None
    test_vectors: Path | None = None


class QuantizedPart(StageOutput):
    dlc: Annotated[Path | None, Artifact("DLC")] = None
    """None with `backend: CPU`."""
    quantized_onnx: Annotated[Path, Artifact("quantized ONNX")]
    quantized_weights: Path
    """Integer weights, the same file for all graphs of a part."""
    signature: Path
    """Inputs and outputs with their encodings."""


@register_stage
class Quantize(ToolchainStage[QuantizeConfig, QuantizeInput, QuantizedPart]):
    """Quantize every tensor to its encoding, as quantized ONNX and as a quantized DLC.

    1. A tensor without an encoding is an error.
    2. Weights are rounded to exactly the grid that the technique chose.
    3. With `toolchain: sdk` the DLC comes from the SDK. The CPU still runs the quantized ONNX, and the binary is
       compared with it.
    """

    name = "quantize"
    imported_ahead = ("onnx_ir",)
    requires = ("split_model",)

    def validate(self, before: Sequence[AnyStage], after: Sequence[AnyStage]) -> None:
        super().validate(before, after)
        if not any(stage.name == "mha_to_sha_conversion" for stage in before):
            warnings.warn(
                "quantize: without mha_to_sha_conversion before it, heads share operations, which is slow on the NPU",
                PipelinePerformanceWarning,
                stacklevel=2,
            )

    def expand(self, batch: Batch, env: Env) -> Expansion:
        from qairt.toolchain.costs import quantize_peak, quantize_seconds

        tasks, paths = [], paths_of(self.name, env)
        for coord in batch:
            part = part_at(coord, env)
            estimate = Estimate(
                bytes=part.weight_bytes * 3 // 8,
                seconds=quantize_seconds(part),
                peak_ram=quantize_peak(part, sdk=uses_sdk(self.config)),
            )
            tasks.append(
                Task(
                    coord=coord,
                    sources=(coord,),
                    params={"backend": settings_of(env).backend},
                    paths=paths,
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
                "predictions need a tokenizer, but the recipe has no model",
                where="stages.quantize.output.prediction.enable",
                remedy="set model_id_or_path, or disable predictions",
            )
        if self.config.output.prediction.enable and is_embedding(env):
            raise RecipeError(
                "predictions are answers, and an embedding model gives none",
                where="stages.quantize.output.prediction.enable",
                remedy="disable predictions; `qairt embed` tries the model",
            )
        if settings_of(env).backend == "HTP":
            super().check(env)

    def check_tools(self, env: Env) -> None:
        if settings_of(env).backend == "HTP":
            super().check_tools(env)

    def notices(self, env: Env) -> Sequence[str]:
        quantization = env.configs.get("quantization")
        if uses_sdk(self.config):
            return ()
        found = []
        bits = quantization.act_bitwidth if isinstance(quantization, QuantizationConfig) else self.config.act_bitwidth
        if "act_bitwidth" in self.config.model_fields_set and self.config.act_bitwidth != bits:
            found.append(
                f"stages.quantize.act_bitwidth: {self.config.act_bitwidth} changes nothing, since the encodings have"
                f" {bits} bits: set stages.quantization.act_bitwidth"
            )
        if self.config.bias_bitwidth != 32:
            found.append(
                f"stages.quantize.bias_bitwidth: {self.config.bias_bitwidth} changes nothing: biases have 32 bits"
            )
        return found

    def check_files(self, env: Env) -> None:
        graph = adopted_graph(env)
        if graph is not None and graph.bare:
            first, *others = graph.bare
            bare = f"{first} and {count(len(others), 'other tensor')} have" if others else f"{first} has"
            raise QuantizationError(
                f"{bare} no encoding",
                where="stages.export.encodings",
                remedy="quantize needs one of every float tensor of the graph: add them to the file",
            )

    def facets_read(self) -> Collection[str]:
        return ()

    def fields_read(self) -> Collection[str]:
        """The float DLC and the recorded tensors are for the quantizer of an SDK."""
        fields = super().fields_read()
        return fields if uses_sdk(self.config) else set(fields) - {"float_dlc", "test_vectors"}

    def cache_key_extras(self, env: Env) -> KeyFacts:
        return () if settings_of(env).backend == "CPU" else super().cache_key_extras(env)

    def run(self, task: Task, context: Context[QuantizeConfig, QuantizeInput]) -> QuantizedPart:
        from qairt.graph import files
        from qairt.graph.qdq import quantize as qdq
        from qairt.graph.qdq.signature import signature_of
        from qairt.quant.encodings_json import read_encodings

        source, directory = context.input, context.directory
        name = f"{source.onnx.stem}_quantized"
        onnx, weights = directory / f"{name}.onnx", directory / "quantized_weights.bin"
        context.progress(0.0, "rounding weights")
        encodings = read_encodings(read_text(source.encodings))
        model = qdq.quantize_graph(files.load(source.onnx), encodings, weights)
        files.save(model, onnx)
        signature = directory / "signature.json"
        part_signature = signature_of(model, encodings, ar=value_of(task.coord, "ar"))
        part_signature.write(signature)
        dlc = None
        if task.params["backend"] == "HTP":
            from qairt.toolchain.base import PartToQuantize

            dlc = directory / f"{name}.dlc"
            context.progress(0.2, "writing the quantized DLC")
            part = PartToQuantize(
                quantized_onnx=onnx,
                float_onnx=source.onnx,
                signature=part_signature,
                float_dlc=source.float_dlc,
                test_vectors=source.test_vectors,
                act_bitwidth=context.config.act_bitwidth,
                bias_bitwidth=context.config.bias_bitwidth,
            )
            toolchain_of(context.config, task.paths, threads=context.threads).quantize(part, dlc)
        return QuantizedPart(dlc=dlc, quantized_onnx=onnx, quantized_weights=weights, signature=signature)

    def prediction_key_extras(self, env: Env) -> KeyFacts:
        from qairt.stages.quantize_predictions import prompts_of

        read = {GRAPH, TOKENIZER, CHAT_TEMPLATE, GENERATION}
        facets = tuple((name, value) for name, value in model_facets(env, self.name) if name in read)
        return (*facets, ("prompts", prompts_of(env)))

    def write_predictions(self, items: Batch, context: OutputContext) -> None:
        from qairt.runtime.parts import PartGraph
        from qairt.stages.quantize_predictions import write_answers

        write_answers(
            (PartGraph.read(part.quantized_onnx, part.signature) for part in _outputs(items).values()), context
        )

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.amounts import size
        from qairt.stages.pictures import svg

        rows = {}
        for coord, output in _outputs(items).items():
            bytes_ = output.quantized_weights.stat().st_size
            rows[value_of(coord, "split")] = (f"part {value_of(coord, 'split')}", float(bytes_), size(bytes_))
        drawn = svg.bars("Quantized weights of each part, shared by its graphs", [*rows.values()])
        (context.directory / "quantized_sizes.svg").write_text(drawn, encoding="utf-8")
        if context.predictions is not None:
            from qairt.stages.quantize_predictions import write_page

            write_page(context.predictions, context.directory)


def _outputs(items: Batch) -> dict[Coord, QuantizedPart]:
    return {coord: item.output for coord, item in items.items() if isinstance(item.output, QuantizedPart)}
