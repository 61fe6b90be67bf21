"""A bundle's context binaries, as read from their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.toolchain.base import GraphContents, Inspection
from qairt.toolchain.qnn.graph_names import plain

_NAME = re.compile(r"ar(\d+)[_-]cl(\d+)_(\d+)_of_(\d+)$")


@dataclass(frozen=True)
class CompiledGraph:
    """A graph in a binary."""

    binary: str
    contents: GraphContents
    signature: GraphSignature | None
    """With AR, CL and part from its name; None if the name has none."""

    @property
    def plain_name(self) -> str:
        """Its name without padding."""
        return plain(self.contents.name)

    def tensor(self, name: str) -> TensorSpec | None:
        """An input or output."""
        return next((spec for spec in (*self.contents.inputs, *self.contents.outputs) if spec.name == name), None)


@dataclass(frozen=True)
class CompiledBinary:
    """A binary that could be read."""

    name: str
    path: Path
    inspection: Inspection
    graphs: tuple[CompiledGraph, ...]

    @property
    def parts(self) -> set[int]:
        return {graph.signature.part for graph in self.graphs if graph.signature is not None}


def compiled(name: str, path: Path, inspection: Inspection) -> CompiledBinary:
    """The graphs of a binary, with their signatures."""
    graphs = tuple(CompiledGraph(name, graph, _signature(graph)) for graph in inspection.graphs)
    return CompiledBinary(name, path, inspection, graphs)


def tensors_named(binaries: Sequence[CompiledBinary], name: str) -> list[TensorSpec]:
    """All inputs and outputs of that name."""
    found = (graph.tensor(name) for binary in binaries for graph in binary.graphs)
    return [spec for spec in found if spec is not None]


def lengths(binaries: Sequence[CompiledBinary]) -> list[int]:
    """Context lengths, according to the graphs' attention masks."""
    return sorted({spec.shape[-1] for spec in tensors_named(binaries, "attention_mask") if spec.shape})


def _signature(graph: GraphContents) -> GraphSignature | None:
    match = _NAME.search(graph.name)
    if match is None:
        return None
    ar, cl, part, of = map(int, match.groups())
    return GraphSignature(
        name=plain(graph.name), ar=ar, cl=cl, part=part, of=of, inputs=graph.inputs, outputs=graph.outputs
    )
