"""A bundle's context binaries as they were read: their graphs by length, in the order they run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.toolchain.base import GraphContents, Inspection

_PLACE = re.compile(r"ar(\d+)[_-]cl(\d+)_(\d+)_of_(\d+)$")


@dataclass(frozen=True)
class CompiledGraph:
    """A graph of a binary."""

    binary: str
    contents: GraphContents
    signature: GraphSignature | None
    """With AR, CL and part as its name says; None where it does not."""

    @property
    def shown(self) -> str:
        return self.contents.name.lstrip("_")

    def tensor(self, name: str) -> TensorSpec | None:
        """An input or output."""
        return next((spec for spec in (*self.contents.inputs, *self.contents.outputs) if spec.name == name), None)


@dataclass(frozen=True)
class CompiledBinary:
    """A binary that could be opened."""

    name: str
    path: Path
    inspection: Inspection
    graphs: tuple[CompiledGraph, ...]

    @property
    def parts(self) -> set[int]:
        return {graph.signature.part for graph in self.graphs if graph.signature is not None}


def compiled(name: str, path: Path, inspection: Inspection) -> CompiledBinary:
    """A binary's graphs, with what their names tell."""
    graphs = tuple(CompiledGraph(name, graph, _signature(graph)) for graph in inspection.graphs)
    return CompiledBinary(name, path, inspection, graphs)


def tensors_named(binaries: Sequence[CompiledBinary], name: str) -> list[TensorSpec]:
    """Every input or output of that name."""
    found = (graph.tensor(name) for binary in binaries for graph in binary.graphs)
    return [spec for spec in found if spec is not None]


def lengths(binaries: Sequence[CompiledBinary]) -> list[int]:
    """Context lengths, by the masks that graphs take."""
    return sorted({spec.shape[-1] for spec in tensors_named(binaries, "attention_mask") if spec.shape})


def _signature(graph: GraphContents) -> GraphSignature | None:
    match = _PLACE.search(graph.name)
    if match is None:
        return None
    ar, cl, part, of = map(int, match.groups())
    return GraphSignature(
        name=graph.name.lstrip("_"), ar=ar, cl=cl, part=part, of=of, inputs=graph.inputs, outputs=graph.outputs
    )
