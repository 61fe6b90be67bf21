"""Stage 9: compile one weight-shared context binary per part."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue

from qairt.amounts import about
from qairt.engine.axes import Coord, value_of, without
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
from qairt.files import link_or_copy
from qairt.stages.emulation import Emulate, EmulationCheck, estimated_seconds
from qairt.stages.facts import soc_of
from qairt.stages.split_model import part_at, parts_for, parts_of
from qairt.stages.toolchain_choice import ToolchainChoice, paths_of, toolchain_of, uses_sdk
from qairt.stages.toolchain_stage import ToolchainStage


class GenerateContextBinaryConfig(ToolchainChoice):
    """Compiler settings."""

    optimization_level: Annotated[int, Field(ge=1, le=3)] = 3
    """Optimization level of the compiler (`O`)."""
    vtcm_mb: Annotated[int, Field(ge=1)] | None = None
    """Vector memory of the NPU (VTCM) that a graph may use, in MB; all that the chip has by default."""
    extended_udma: bool = False
    """Move data by 64-bit DMA; needs HTP v81."""
    emulate: Emulate = "auto"
    """Whether what the compiler made is emulated here and compared with ONNX Runtime, so that no wrong binary is kept.
    auto: one piece of every form, such as a decoder layer, and the head, at every AR. all: every graph of every part as
    a whole too, which takes minutes. none: nothing. With `toolchain: sdk` nothing is: the emulator is the wheel's."""

    def key_fields(self) -> dict[str, JsonValue]:
        """Without defaults of later settings, so that binaries from before there were these are found."""
        fields = super().key_fields()
        for name, default in (("vtcm_mb", None), ("extended_udma", False)):
            if fields[name] == default:
                del fields[name]
        if self.emulate == "auto" or self.toolchain == "sdk":
            del fields["emulate"]
        return fields


class GenerateContextBinaryInput(StageInput):
    quantized_onnx: Path
    quantized_weights: Path
    signature: Path
    dlc: Path | None = None
    test_vectors: Path | None = None


class ContextBinary(StageOutput):
    binary: Annotated[Path, Artifact("context binary")]
    wrappers: dict[str, Path]
    """`EPContext` ONNX by graph name, for ONNX Runtime on the device."""
    configs: list[Path]
    """The HTP configuration of the compiler."""
    signatures: dict[str, Path]
    """Inputs and outputs by graph name."""


@register_stage
class GenerateContextBinary(ToolchainStage[GenerateContextBinaryConfig, GenerateContextBinaryInput, ContextBinary]):
    """Compile all graphs of a part (every AR and CL) into one binary that contains the weights once.

    1. Each part has its own HTP configuration, as it lists the graph names.
    2. Graph names contain AR, CL and part: `ar1_cl512_2_of_4`, padded at the front, from the wheel;
       `ar1-cl512_2_of_4` from the SDK, which names a graph after its DLC.
    3. The binary is read back and compared with the requested graphs.
    4. What the compiler makes of the graphs is emulated and compared with ONNX Runtime (`qairt.stages.emulation`).
    """

    name = "generate_context_binary"
    imported_ahead = ("onnx_ir",)
    merges = ("cl", "ar")
    computed_from: ClassVar[Mapping[str, str]] = {"of": "stages.split_model.num_splits"}
    requires = ("quantize",)

    def check(self, env: Env) -> None:
        from qairt.toolchain.limits import bits_per_weight, require_parts_fit
        from qairt.toolchain.qnn.wheel import require
        from qairt.toolchain.soc import require_weight_sharing

        require()  # with the SDK too: the wheel reads the binary back
        super().check(env)
        require_weight_sharing(soc_of(env))
        bits = bits_per_weight(env.facts.get("technique"))
        require_parts_fit(parts_of(env), bits_per_weight=bits, replan=lambda num_splits: parts_for(env, num_splits))

    def expand(self, batch: Batch, env: Env) -> Expansion:
        from qairt.toolchain.costs import compile_peak, compile_seconds
        from qairt.toolchain.limits import bits_of_layers

        bits = bits_of_layers(env.facts.get("technique"))
        together: dict[Coord, list[Coord]] = {}
        for coord in batch:
            together.setdefault(without(coord, self.merges), []).append(coord)
        tasks, paths = [], paths_of(self.name, env)
        for coord, sources in together.items():
            self._require_chip(coord, env)
            part = part_at(coord, env)
            size = part.weight_bytes
            check = self._check_seconds(coord, [value_of(source, "ar", 1) for source in sources], env)
            tasks.append(
                Task(
                    coord=coord,
                    sources=tuple(sources),
                    params={"part": part.index, "of": part.of, "soc": soc_of(env).name},
                    paths=paths,
                    estimate=Estimate(
                        bytes=size // 4,
                        seconds=compile_seconds(part, bits, len(sources)) + check,
                        peak_ram=compile_peak(part, bits),
                    ),
                )
            )
        return Expansion(tasks)

    def _require_chip(self, coord: Coord, env: Env) -> None:
        """
        Raises:
            RecipeError: the chip lacks what the settings at `coord` ask for.
        """
        from qairt.toolchain.soc import require_extended_udma, require_vtcm

        config = self.config.at(coord)
        if config.vtcm_mb is not None:
            require_vtcm(soc_of(env), config.vtcm_mb, where=f"stages.{self.name}.vtcm_mb")
        if config.extended_udma:
            require_extended_udma(soc_of(env), where=f"stages.{self.name}.extended_udma")

    def fields_read(self) -> Collection[str]:
        """The DLC is for the generator of an SDK."""
        fields = super().fields_read()
        return fields if uses_sdk(self.config) else set(fields) - {"dlc"}

    def facets_read(self) -> Collection[str]:
        return ()

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        ars: dict[Coord, list[int]] = {}
        for coord in batch:
            ars.setdefault(without(coord, self.merges), []).append(value_of(coord, "ar", 1))
        seconds = sum(self._check_seconds(coord, each, env) for coord, each in ars.items())
        return {"emulate": f"{self.config.emulate}, about {about(seconds)}" if seconds else "nothing"}

    def _check_seconds(self, coord: Coord, ars: Sequence[int], env: Env) -> float:
        config = self.config.at(coord)
        if config.toolchain == "sdk":
            return 0.0
        part = part_at(coord, env)
        first = next((each.index for each in parts_of(env) if each.layers), part.index)
        return estimated_seconds(config.emulate, part, ars, is_first=part.index == first)

    def run(
        self, task: Task, context: Context[GenerateContextBinaryConfig, GenerateContextBinaryInput]
    ) -> ContextBinary:
        from qairt.graph.tensors import GraphSignature
        from qairt.toolchain.base import BINARY_SUFFIX, BinarySpec, QuantizedGraph
        from qairt.toolchain.soc import SOCS

        directory, soc = context.directory, SOCS[str(task.params["soc"])]
        sources = [context.inputs[coord] for coord in sorted(context.inputs)]
        graphs = [
            QuantizedGraph(source.quantized_onnx, GraphSignature.read(source.signature), source.dlc)
            for source in sources
        ]
        binary = BinarySpec(
            file_name=f"weight_sharing_model_{task.params['part']}_of_{task.params['of']}{BINARY_SUFFIX}",
            soc=replace(soc, vtcm_mb=context.config.vtcm_mb or soc.vtcm_mb),
            optimization_level=context.config.optimization_level,
            extended_udma=context.config.extended_udma,
        )
        context.progress(0.0, f"compiling {len(graphs)} graphs")
        toolchain = toolchain_of(context.config, task.paths, threads=context.threads)
        is_emulated = context.config.emulate != "none" and context.config.toolchain == "qnn"
        share = 0.6 if is_emulated else 1.0

        def compiled(fraction: float, step: str) -> None:
            context.progress(share * fraction, step)

        def emulated(fraction: float, step: str) -> None:
            context.progress(share + (1 - share) * fraction, step)

        result = toolchain.link(graphs, directory, binary, progress=compiled)
        if is_emulated:
            check = EmulationCheck(
                binary.soc,
                binary.optimization_level,
                context.threads,
                shared=context.shared,
                scratch=directory,
                extended_udma=binary.extended_udma,
            )
            vectors = [source.test_vectors for source in sources]
            check.run(context.config.emulate, list(zip(graphs, vectors, strict=True)), emulated)
        signatures = {name: directory / f"{name}.signature.json" for name in result.graph_names}
        for source, path in zip(sources, signatures.values(), strict=True):
            link_or_copy(source.signature, path)
        return ContextBinary(
            binary=result.binary, wrappers=result.wrappers, configs=result.configs, signatures=signatures
        )

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.amounts import size
        from qairt.stages.pictures import svg

        rows = []
        for item in items.values():
            assert isinstance(item.output, ContextBinary)
            bytes_ = item.output.binary.stat().st_size
            rows.append((item.label, float(bytes_), f"{size(bytes_)}, {len(item.output.signatures)} graphs"))
        drawn = svg.bars("Context binaries (weights shared by the graphs of a part)", rows)
        (context.directory / "binary_sizes.svg").write_text(drawn, encoding="utf-8")
