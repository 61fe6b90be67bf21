"""Stage 6: separate operations for each attention head."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from qairt.engine.axes import Coord, value_of
from qairt.engine.stage import (
    Artifact,
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    OutputContext,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import GraphError
from qairt.files import link_or_copy, read_text
from qairt.stages.split_model import part_at

MAX_ERROR = 1e-5
"""Largest relative error allowed between the float graphs before and after."""


class MhaToShaConfig(StageConfig):
    """`mha_to_sha_conversion` has no settings."""


class MhaToShaInput(StageInput):
    onnx: Path
    weights: Path
    encodings: Path
    test_vectors: Path


class SingleHeadPart(StageOutput):
    onnx: Annotated[Path, Artifact("ONNX")]
    weights: Path
    head_weights: Path
    """Projection weights split by head, float32."""
    encodings: Annotated[Path, Artifact("encodings")]


@register_stage
class MhaToShaConversion(Stage[MhaToShaConfig, MhaToShaInput, SingleHeadPart]):
    """Convert multi-head to single-head attention: MatMuls per head, K and V per KV head, encodings to match.

    1. Part 1, the embedding, passes through. So does a part of an external graph whose attention has another form, or
       one head at a time already; the log says which node differs.
    2. On the part's test vectors the result must agree with the original graph to 1e-5.
    """

    name = "mha_to_sha_conversion"
    imported_ahead = ("onnx_ir",)
    worth = "intermediate"
    requires = ("split_model",)

    def applies_to(self, coord: Coord) -> bool:
        return value_of(coord, "split") != 1

    def expand(self, batch: Batch, env: Env) -> Expansion:
        from qairt.toolchain.costs import graph_peak, graph_seconds, head_split_bytes

        tasks, written = [], set()
        for coord in batch:
            part = part_at(coord, env)
            size = 5_000_000 + (head_split_bytes(part) if part.index not in written else 0)
            written.add(part.index)
            estimate = Estimate(bytes=size, seconds=graph_seconds(part), peak_ram=graph_peak(part))
            tasks.append(Task(coord=coord, sources=(coord,), estimate=estimate, shares=f"part {part.index}"))
        return Expansion(tasks)

    def facets_read(self) -> Collection[str]:
        return ()

    def run(self, task: Task, context: Context[MhaToShaConfig, MhaToShaInput]) -> SingleHeadPart:
        from qairt.graph import files, part_vectors
        from qairt.graph.attention import OtherAttention
        from qairt.graph.mha2sha import SingleHeads, to_single_heads
        from qairt.quant.encodings_json import read_encodings, write_encodings

        source, directory = context.input, context.directory
        weights = directory / source.weights.name
        link_or_copy(source.weights, weights)
        onnx = directory / source.onnx.name
        encodings = directory / source.encodings.name
        context.progress(0.0, "splitting heads")
        head_weights = directory / "heads.bin"
        found = read_encodings(read_text(source.encodings))
        try:
            heads = to_single_heads(files.load(source.onnx), found, directory, head_weights.name)
        except OtherAttention as other:
            print(f"passed through as it is: {other}")
            head_weights.touch()
            heads = SingleHeads(files.load(source.onnx), found)
        files.save(heads.model, onnx)
        encodings.write_text(write_encodings(heads.encodings), encoding="utf-8")
        context.progress(0.5, "comparing with the original graph")
        vectors = part_vectors.read(source.test_vectors)
        error = part_vectors.largest_relative_error(
            part_vectors.run(onnx, vectors.inputs, context.threads), vectors.outputs
        )
        print(f"largest relative error against the original graph: {error:.2e}")
        if not error <= MAX_ERROR:
            raise GraphError(
                f"the outputs differ by {error:.1e} after splitting the heads (allowed: {MAX_ERROR:.0e})",
                where=source.onnx.name,
                remedy="please report this graph; remove mha_to_sha_conversion to continue without it",
            )
        return SingleHeadPart(onnx=onnx, weights=weights, head_weights=head_weights, encodings=encodings)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.stages.pictures.graphs import draw_operator_counts

        outputs = (item.output for item in items.values())
        graphs = {output.onnx.stem: output.onnx for output in outputs if isinstance(output, SingleHeadPart)}
        draw_operator_counts("Operators of each part after splitting heads", graphs, context.directory)
