"""A context binary against what was asked for: a return code is no proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isclose

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents, Inspection
from qairt.toolchain.soc import Soc

MOST_NAMED = 5


def require_as_asked(
    found: Inspection, asked: Mapping[str, GraphContents], soc: Soc, *, where: str, scale_tolerance: float = 0.0
) -> None:
    """Compare graphs, tensors, shapes, types and encodings.

    Args:
        found: what was read out of the binary.
        asked: what each graph must hold, by its name in the binary.
        where: the binary's name.
        scale_tolerance: relative difference that a scale may have, for tools that compute it anew.

    Raises:
        ToolchainError: names up to five differences.
    """
    faults = []
    if found.soc_model != soc.id:
        faults.append(f"it is for chip {found.soc_model}, not {soc.id} ({soc.name})")
    held = {graph.name: graph for graph in found.graphs}
    if set(held) != set(asked):
        faults.append(f"its graphs are {sorted(held)}, not {sorted(asked)}")
    for name in set(held) & set(asked):
        for kind, ours, theirs in (
            ("input", asked[name].inputs, held[name].inputs),
            ("output", asked[name].outputs, held[name].outputs),
        ):
            for tensor, one, other in differing(ours, theirs, scale_tolerance=scale_tolerance):
                if other is None:
                    faults.append(f"{name}: no {kind} {tensor}")
                elif one is None:
                    faults.append(f"{name}: {kind} {tensor} was not asked for")
                else:
                    faults.append(f"{name}: {kind} {tensor} is {other}, not {one}")
    if faults:
        raise ToolchainError(
            "the binary is not what was asked for: " + "; ".join(sorted(faults)[:MOST_NAMED]),
            where=where,
            remedy="see the log",
        )


def differing(
    ours: Iterable[TensorSpec], theirs: Iterable[TensorSpec], *, scale_tolerance: float = 0.0
) -> Iterator[tuple[str, TensorSpec | None, TensorSpec | None]]:
    """Tensors that are not the same in both, by name; None where one has it and the other has not."""
    one, other = {spec.name: spec for spec in ours}, {spec.name: spec for spec in theirs}
    for name in sorted(one.keys() | other.keys()):
        if not _same(one.get(name), other.get(name), scale_tolerance):
            yield name, one.get(name), other.get(name)


def _same(one: TensorSpec | None, other: TensorSpec | None, tolerance: float) -> bool:
    if one is None or other is None or one.scale is None or other.scale is None:
        return one == other
    close = isclose(one.scale, other.scale, rel_tol=tolerance)
    return close and one == other.model_copy(update={"scale": one.scale})
