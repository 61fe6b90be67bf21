"""Compare a context binary with the request: a return code is no proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isclose

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents, Inspection
from qairt.toolchain.soc import Soc

MAX_LISTED = 5


def require_match(
    found: Inspection, expected: Mapping[str, GraphContents], soc: Soc, *, where: str, scale_tolerance: float = 0.0
) -> None:
    """Compare chip, graphs, tensors, shapes, types and encodings.

    Args:
        found: read from the binary.
        expected: the contents of each graph, by its name in the binary.
        soc: the chip that was requested.
        where: the binary's name.
        scale_tolerance: allowed relative difference of a scale, for tools that recompute it.

    Raises:
        ToolchainError: lists up to five differences.
    """
    faults = []
    if found.soc_model != soc.id:
        faults.append(f"it is for chip {found.soc_model}, not {soc.id} ({soc.name})")
    graphs = {graph.name: graph for graph in found.graphs}
    if set(graphs) != set(expected):
        faults.append(f"its graphs are {sorted(graphs)}, not {sorted(expected)}")
    for name in set(graphs) & set(expected):
        for kind, ours, theirs in (
            ("input", expected[name].inputs, graphs[name].inputs),
            ("output", expected[name].outputs, graphs[name].outputs),
        ):
            for tensor, one, other in differences(ours, theirs, scale_tolerance=scale_tolerance):
                if other is None:
                    faults.append(f"{name}: {kind} {tensor} is missing")
                elif one is None:
                    faults.append(f"{name}: unexpected {kind} {tensor}")
                else:
                    faults.append(f"{name}: {kind} {tensor} is {other}, not {one}")
    if faults:
        raise ToolchainError(
            "the binary does not match the request: " + "; ".join(sorted(faults)[:MAX_LISTED]),
            where=where,
            remedy="see the log",
        )


def differences(
    ours: Iterable[TensorSpec], theirs: Iterable[TensorSpec], *, scale_tolerance: float = 0.0
) -> Iterator[tuple[str, TensorSpec | None, TensorSpec | None]]:
    """Tensors that differ, by name; None where one side lacks the tensor."""
    one, other = {spec.name: spec for spec in ours}, {spec.name: spec for spec in theirs}
    for name in sorted(one.keys() | other.keys()):
        if not _equal(one.get(name), other.get(name), scale_tolerance):
            yield name, one.get(name), other.get(name)


def _equal(one: TensorSpec | None, other: TensorSpec | None, tolerance: float) -> bool:
    if one is None or other is None or one.scale is None or other.scale is None:
        return one == other
    close = isclose(one.scale, other.scale, rel_tol=tolerance)
    return close and one == other.model_copy(update={"scale": one.scale})
