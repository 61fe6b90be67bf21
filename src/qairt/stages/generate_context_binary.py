"""Stage 9: one weight-shared context binary per part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from qairt.engine.axes import Coord, without
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
from qairt.files import link_or_copy
from qairt.stages.facts import soc_of
from qairt.stages.split_model import part_at, parts_for, parts_of
from qairt.stages.toolchain_choice import (
    ToolchainChoice,
    check_toolchain,
    paths_of,
    require_tools,
    toolchain_of,
    version_of,
)


class GenerateContextBinaryConfig(ToolchainChoice):
    """How the compiler works."""

    optimization_level: Annotated[int, Field(ge=1, le=3)] = 3
    """How hard the compiler optimises the finished graph (`O`)."""


class GenerateContextBinaryInput(StageInput):
    quantized_onnx: Path
    quantized_weights: Path
    signature: Path
    dlc: Path | None = None


class ContextBinary(StageOutput):
    binary: Annotated[Path, Artifact("context binary")]
    wrappers: dict[str, Path]
    """`EPContext` ONNX by graph name: what ONNX Runtime loads on the device."""
    configs: list[Path]
    """The HTP configuration this binary was made with."""
    signatures: dict[str, Path]
    """Inputs and outputs by graph name."""


@register_stage
class GenerateContextBinary(Stage[GenerateContextBinaryConfig, GenerateContextBinaryInput, ContextBinary]):
    """Compile all ARs of a part into one binary that holds its weights once.

    1. The HTP configuration is written per part, for its graph names are its own.
    2. Graphs are named so that a runtime can read AR, CL and part from the name: `ar1_cl512_2_of_4`, padded in front,
       by the wheel; `ar1-cl512_2_of_4` by the SDK, which names a graph like its DLC.
    3. What is in the binary is read back and compared with what was asked.
    """

    name = "generate_context_binary"
    merges = ("cl", "ar")
    computed_from: ClassVar[Mapping[str, str]] = {"of": "stages.split_model.num_splits"}
    requires = ("quantize",)

    def check(self, env: Env) -> None:
        from qairt.toolchain.limits import require_parts_fit
        from qairt.toolchain.qnn.wheel import require
        from qairt.toolchain.soc import require_weight_sharing

        require()  # with the SDK too: the wheel reads back what was written
        check_toolchain(self.name, env)
        require_weight_sharing(soc_of(env))
        technique = env.facts.get("technique")
        # 4-bit blocks, their scales, and some 8-bit weights among them
        bits = 5 if technique is not None and technique.needs_block_quantization else 8
        require_parts_fit(parts_of(env), bits_per_weight=bits, replan=lambda num_splits: parts_for(env, num_splits))

    def check_tools(self, env: Env) -> None:
        require_tools(self.name, env)

    def expand(self, batch: Batch, env: Env) -> Expansion:
        together: dict[Coord, list[Coord]] = {}
        for coord in batch:
            together.setdefault(without(coord, self.merges), []).append(coord)
        tasks = []
        for coord, sources in together.items():
            part = part_at(coord, env)
            size = part.weight_bytes
            tasks.append(
                Task(
                    coord=coord,
                    sources=tuple(sources),
                    params={"part": part.index, "of": part.of, "soc": soc_of(env).name},
                    paths=paths_of(self.name, env),
                    estimate=Estimate(
                        bytes=size // 4,
                        seconds=1 + len(sources) * size / 1.5e7,
                        peak_ram=400_000_000 + 4 * size,
                    ),
                )
            )
        return Expansion(tasks)

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        return version_of(self.name, env)

    def run(
        self, task: Task, context: Context[GenerateContextBinaryConfig, GenerateContextBinaryInput]
    ) -> ContextBinary:
        from qairt.graph.tensors import GraphSignature
        from qairt.toolchain.base import BinarySpec, QuantizedGraph
        from qairt.toolchain.soc import SOCS

        directory = context.directory
        sources = [context.inputs[coord] for coord in sorted(context.inputs)]
        graphs = [
            QuantizedGraph(source.quantized_onnx, GraphSignature.read(source.signature), source.dlc)
            for source in sources
        ]
        binary = BinarySpec(
            file_name=f"weight_sharing_model_{task.params['part']}_of_{task.params['of']}.serialized.bin",
            soc=SOCS[str(task.params["soc"])],
            optimization_level=context.config.optimization_level,
        )
        context.progress(0.0, f"compiling {len(graphs)} graphs")
        toolchain = toolchain_of(context.config, task.paths, threads=context.threads)
        result = toolchain.link(graphs, directory, binary, progress=context.progress)
        signatures = {name: directory / f"{name}.signature.json" for name in result.graph_names}
        for source, path in zip(sources, signatures.values(), strict=True):
            link_or_copy(source.signature, path)
        return ContextBinary(
            binary=result.binary, wrappers=result.wrappers, configs=result.configs, signatures=signatures
        )

    def write_visualization(self, items: Batch, place: OutputContext) -> None:
        from qairt.amounts import size
        from qairt.stages.pictures import svg

        rows = []
        for item in items.values():
            assert isinstance(item.output, ContextBinary)
            bytes_ = item.output.binary.stat().st_size
            rows.append((item.label, float(bytes_), f"{size(bytes_)}, {len(item.output.signatures)} graphs"))
        drawn = svg.bars("Context binaries: the weights of a part once, for all its graphs", rows)
        (place.directory / "binary_sizes.svg").write_text(drawn, encoding="utf-8")
