"""One part of a split decoder, and the interface to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature
from qairt.runtime.stored import Array

if TYPE_CHECKING:
    from qairt.graph.session import Session


@dataclass(frozen=True)
class PartGraph:
    """A part's graph for one AR; float or quantized."""

    onnx: Path
    """Its weights are beside it."""
    signature: GraphSignature

    @classmethod
    def read(cls, onnx: Path, signature: Path) -> PartGraph:
        """Read the files of the stage `quantize`."""
        return cls(onnx, GraphSignature.read(signature))


def by_length(parts: Iterable[PartGraph]) -> dict[int, dict[int, list[PartGraph]]]:
    """Parts in order, by context length and AR."""
    found: dict[int, dict[int, list[PartGraph]]] = {}
    for part in sorted(parts, key=lambda each: each.signature.part):
        found.setdefault(part.signature.cl, {}).setdefault(part.signature.ar, []).append(part)
    return found


class PartRunner(Protocol):
    """Runs one part on stored integers; inputs and outputs by name, as in the part's signature."""

    def ready(self) -> None:
        """Wait until it can run."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...

    def close(self) -> None:
        """Free its memory; it cannot run any more."""


Opener = Callable[[PartGraph], PartRunner]
"""Starts to open a part; several parts may open at the same time."""


def require_signature(part: PartGraph, session: Session) -> None:
    """
    Raises:
        GraphError: the session's inputs or outputs differ from the part's signature; names the first.
    """
    signature = part.signature
    for kind, specs, nodes in (
        ("input", signature.inputs, session.get_inputs()),
        ("output", signature.outputs, session.get_outputs()),
    ):
        expected = {spec.name: f"{spec.dtype} {list(spec.shape)}" for spec in specs}
        found = {node.name: f"{_dtype(node.type)} {list(node.shape)}" for node in nodes}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise GraphError(
                    f"the {kind} {name} is {found.get(name, 'missing')} in the graph, "
                    f"but {expected.get(name, 'missing')} in the signature of {signature.name}",
                    where=str(part.onnx),
                    remedy="graph and signature come from different runs; run the pipeline again",
                )


def _dtype(onnx_type: str) -> str:
    """NumPy's name of `tensor(uint16)`."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
