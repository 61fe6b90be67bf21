"""A part's graph with A and B of its LoRA branches as weights that are replaced adapter by adapter: what the SDK's
converter calls updatable tensors.

1. The input A or B becomes a weight of the same name.
2. Where heads are separate, B is cut: each head has its columns as a weight of its own, `lora_0_q_proj_b.h3`.
3. The graph itself holds those of the base, zeros.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qairt.graph.mha2sha import whole_name
from qairt.graph.weights_file import append, external
from qairt.model.names import is_branch_input
from qairt.quant.encodings import Encodings

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BranchColumns:
    """What a weight holds of a branch input."""

    branch_input: str
    columns: slice


@dataclass(frozen=True)
class Updatable:
    """The weights that are replaced, by name, in the graph's order."""

    weights: Mapping[str, BranchColumns]

    def values(self, branches: Mapping[str, Floats]) -> dict[str, Floats]:
        """The weights for a concurrency.

        Args:
            branches: its A [in, R] and B [R, out], by branch input.
        """
        return {
            name: np.ascontiguousarray(branches[held.branch_input][:, held.columns])
            for name, held in self.weights.items()
        }

    def encodings(self, part: Encodings, own: Encodings, *, shared: Collection[str] = ()) -> Encodings:
        """The part's encodings with those of one concurrency.

        Args:
            part: of the part's graph, with A and B among its activations.
            own: of the whole model, before heads were separated.
            shared: tensors that keep the part's.
        """
        kept = {held.branch_input for held in self.weights.values()} - self.weights.keys()
        found = {
            name: encoding if name in shared else own.activations[whole_name(name)]
            for name, encoding in part.activations.items()
            if name not in kept
        }
        weights = {name: found.pop(name) for name in self.weights}
        return Encodings(found, {**part.params, **weights})


def make_updatable(model: ir.Model, path: Path) -> Updatable:
    """Turn the branch inputs of `model` into weights, in place; none where it has no branches.

    Args:
        model: bound (static shapes).
        path: the new file of these weights, beside which the graph will be saved.
    """
    import onnx_ir as ir

    graph, found = model.graph, dict[str, BranchColumns]()

    with path.open("wb") as file:

        def add(name: str, branch_input: str, columns: slice, rows: int) -> ir.Value:
            found[name] = BranchColumns(branch_input, columns)
            zeros = np.zeros((rows, columns.stop - columns.start), np.float32)
            tensor = external(name, append(file, zeros), path)
            value = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(ir.DataType.FLOAT))
            graph.initializers[name] = value
            return value

        for old in [value for value in graph.inputs if is_branch_input(str(value.name))]:
            name = str(old.name)
            assert old.shape is not None
            rows, columns = (int(size) for size in old.shape.numpy())
            graph.inputs.remove(old)
            slices = [node for node in old.consumers() if node.op_type == "Slice"]
            for node in slices:
                start, stop = (_number(node, position) for position in (1, 2))
                output = node.outputs[0]
                cut, output.name = str(output.name), f"{output.name}.replaced"
                output.replace_all_uses_with(add(cut, name, slice(start, stop), rows))
                graph.remove(node, safe=True)
            if old.uses():
                old.name = f"{name}.replaced"
                old.replace_all_uses_with(add(name, name, slice(0, columns), rows))
    for value in list(graph.initializers.values()):
        if not value.uses():  # the bounds of the slices
            graph.initializers.pop(str(value.name))
    return Updatable(found)


def _number(node: ir.Node, position: int) -> int:
    value = node.inputs[position]
    assert value is not None
    assert value.const_value is not None
    return int(value.const_value.numpy()[0])
