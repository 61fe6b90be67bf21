"""One part as Genie can load it on this machine: a context binary with one graph, of AR 1; compiled on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue

from qairt.engine.stage import (
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
)
from qairt.stages.facts import soc_of
from qairt.stages.split_model import part_at


class GenieBinaryConfig(StageConfig):
    """Compiler settings, as in `generate_context_binary`."""

    optimization_level: Annotated[int, Field(ge=1, le=3)] = 3


class GenieBinaryInput(StageInput):
    quantized_onnx: Path
    signature: Path


class OneGraphBinary(StageOutput):
    binary: Path


class GenieBinary(Stage[GenieBinaryConfig, GenieBinaryInput, OneGraphBinary]):
    """Compile the AR-1 graph of a part alone.

    1. The device's binaries hold all ARs of a part, and loading such a binary crashes the vendor's process on x86.
    2. 4-bit block weights become equal 8-bit ones (`qairt.graph.byte_weights`), which the emulator accepts.
    3. No other stage reads its output, and no recipe lists it: it is a side branch of `quantize`.
    """

    name = "genie_binary"
    requires = ("quantize",)
    is_side_branch = True

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion([self.task(coord, env) for coord in batch])

    def task(self, coord: tuple[tuple[str, int], ...], env: Env) -> Task:
        """The task of the part at `coord`."""
        part = part_at(coord, env)
        # 8 bits per weight; the compiler holds several copies
        estimate = Estimate(
            bytes=part.weight_bytes // 4,
            seconds=2 + part.weight_bytes / 2e7,
            peak_ram=400_000_000 + 4 * part.weight_bytes,
        )
        params: dict[str, JsonValue] = {"part": part.index, "of": part.of, "soc": soc_of(env).name}
        return Task(coord=coord, sources=(coord,), params=params, estimate=estimate)

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, str], ...]:
        from qairt.toolchain.qnn.wheel import version

        return (("toolchain", version()),)

    def run(self, task: Task, context: Context[GenieBinaryConfig, GenieBinaryInput]) -> OneGraphBinary:
        import tempfile

        from qairt.graph.byte_weights import write_byte_weights
        from qairt.graph.tensors import GraphSignature
        from qairt.toolchain.base import BinarySpec, QuantizedGraph
        from qairt.toolchain.qnn.compiler import QnnToolchain
        from qairt.toolchain.soc import SOCS

        source = context.input
        signature = GraphSignature.read(source.signature)
        with tempfile.TemporaryDirectory(dir=context.directory, prefix="onnx-") as folder:
            onnx = Path(folder) / f"{signature.graph_name}.onnx"
            write_byte_weights(source.quantized_onnx, onnx)
            result = QnnToolchain().link(
                [QuantizedGraph(onnx, signature)],
                Path(folder),
                BinarySpec(
                    file_name=f"{signature.graph_name}.bin",
                    soc=SOCS[str(task.params["soc"])],
                    optimization_level=context.config.optimization_level,
                ),
                progress=context.progress,
            )
            kept = result.binary.rename(context.directory / result.binary.name)
        return OneGraphBinary(binary=kept)
