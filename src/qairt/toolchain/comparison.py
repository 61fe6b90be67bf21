"""A context binary against what was asked for: a return code is no proof."""

from __future__ import annotations

from collections.abc import Mapping
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
            one, other = {spec.name: spec for spec in ours}, {spec.name: spec for spec in theirs}
            faults += [f"{name}: no {kind} {missing}" for missing in one.keys() - other.keys()]
            faults += [f"{name}: {kind} {extra} was not asked for" for extra in other.keys() - one.keys()]
            faults += [
                f"{name}: {kind} {tensor} is {other[tensor]}, not {one[tensor]}"
                for tensor in one.keys() & other.keys()
                if not _same(one[tensor], other[tensor], scale_tolerance)
            ]
    if faults:
        raise ToolchainError(
            "the binary is not what was asked for: " + "; ".join(sorted(faults)[:MOST_NAMED]),
            where=where,
            remedy="see the log",
        )


def _same(one: TensorSpec, other: TensorSpec, tolerance: float) -> bool:
    if one == other:
        return True
    if one.scale is None or other.scale is None:
        return False
    close = isclose(one.scale, other.scale, rel_tol=tolerance)
    return close and one == other.model_copy(update={"scale": one.scale})
