"""What the inputs and outputs of an external graph are, by name.

1. A recipe's `io_names` maps our names to the graph's; `{i}` stands for the number of a layer.
2. Without an entry there, the names of optimum, of AI Hub and of QAIRT are known.
3. Afterwards every input and output has our name. What they hold may still differ (`qairt.graph.foreign.decoder`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from qairt.errors import GraphError, RecipeError

INPUTS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "position_ids_cos",
    "position_ids_sin",
    "past_key_{i}_in",
    "past_value_{i}_in",
)
OUTPUTS = ("logits", "past_key_{i}_out", "past_value_{i}_out")

_KNOWN = {
    f"past_{kind}_{{i}}_in": (f"past_key_values.{{i}}.{kind}", f"past_key_values_{{i}}_{kind}", f"past_{kind}_{{i}}")
    for kind in ("key", "value")
} | {
    f"past_{kind}_{{i}}_out": (f"present.{{i}}.{kind}", f"present_key_values.{{i}}.{kind}", f"present_{kind}_{{i}}")
    for kind in ("key", "value")
}


def name_interface(model: ir.Model, io_names: Mapping[str, str]) -> dict[str, str]:
    """Give the inputs and outputs of `model` our names, in place.

    Args:
        io_names: the graph's name of each of ours, such as `past_key_{i}_in: cache.{i}.k`.

    Returns:
        Our names by the graph's.

    Raises:
        RecipeError: `io_names` has a name that is not ours, or one that the graph does not have.
    """
    renamed: dict[str, str] = {}
    for values, ours in ((list(model.graph.inputs), INPUTS), (list(model.graph.outputs), OUTPUTS)):
        names = {str(value.name): value for value in values}
        for our_name in ours:
            given = io_names.get(our_name)
            patterns = (given,) if given is not None else (our_name, *_KNOWN.get(our_name, ()))
            found = [pair for pattern in patterns for pair in _matches(pattern, our_name, names)]
            if given is not None and not found:
                kind = "output" if our_name in OUTPUTS else "input"
                raise RecipeError(
                    f"the graph has no {kind} {given}",
                    where=f"stages.export.io_names.{our_name}",
                    remedy=f"its {kind}s are {', '.join(names)}",
                )
            renamed |= {theirs: named for theirs, named in found if theirs not in renamed}
    unknown = sorted(set(io_names) - set(INPUTS) - set(OUTPUTS))
    if unknown:
        raise RecipeError(
            f"{unknown[0]} is no input or output of a decoder",
            where="stages.export.io_names",
            remedy=f"map these names: {', '.join((*INPUTS, *OUTPUTS))}",
        )
    _rename(model, renamed)
    return {theirs: ours for theirs, ours in renamed.items() if theirs != ours}


def cache_layers(model: ir.Model) -> int:
    """The number of layers whose cache is an input."""
    return sum(1 for value in model.graph.inputs if re.fullmatch(r"past_key_\d+_in", str(value.name)))


def _matches(pattern: str, ours: str, names: Mapping[str, ir.Value]) -> list[tuple[str, str]]:
    """The graph's names of a pattern, each with ours."""
    wanted = re.compile(re.escape(pattern).replace(re.escape("{i}"), r"(\d+)"))
    pairs = ((name, wanted.fullmatch(name)) for name in names)
    return [(name, ours.replace("{i}", match[1] if match.groups() else "")) for name, match in pairs if match]


def _rename(model: ir.Model, renamed: Mapping[str, str]) -> None:
    values = {str(value.name): value for value in (*model.graph.inputs, *model.graph.outputs)}
    every = {str(value.name): value for node in model.graph for value in node.outputs} | values
    for theirs, ours in renamed.items():
        if theirs != ours and ours in every and ours not in renamed:
            raise GraphError(
                f"{theirs} would get the name of another tensor, {ours}",
                where=f"input or output {theirs}",
                remedy="name the graph's inputs and outputs in stages.export.io_names",
            )
    for theirs in renamed:
        values[theirs].name = f"{theirs}.renamed"  # two of them may swap names
    for theirs, ours in renamed.items():
        values[theirs].name = ours
