"""Each operation's shape rule against ONNX's own inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qairt.errors import GraphError
from qairt.graph.shapes import propagate


def graph_of(op: str, inputs: list[tuple[int, ...] | list[int] | None], **attributes: Any) -> ir.Model:
    """One node. A tuple is the shape of a float input, a list a constant of integers, None an input left out."""
    values: list[ir.Value | None] = []
    initializers = []
    for place, given in enumerate(inputs):
        value = None
        if isinstance(given, tuple):
            value = ir.Value(name=f"x{place}", shape=ir.Shape(given), type=ir.TensorType(ir.DataType.FLOAT))
        elif given is not None:
            tensor = ir.tensor(np.array(given, np.int64), name=f"x{place}")
            kind = ir.TensorType(ir.DataType.INT64)
            value = ir.Value(name=f"x{place}", const_value=tensor, shape=ir.Shape([len(given)]), type=kind)
            initializers.append(value)
        values.append(value)
    node = ir.node(op, values, attributes=attributes, name="n")
    node.outputs[0].name = "y"
    free = [value for value in values if value is not None and value not in initializers]
    graph = ir.Graph(free, [node.outputs[0]], nodes=[node], initializers=initializers, opset_imports={"": 23}, name="g")
    return ir.Model(graph, ir_version=11)


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Add", [(2, 1, 4), (3, 1)], {}),
    ("Div", [(4,), (2, 3, 4)], {}),
    ("Pow", [(2, 3), ()], {}),
    ("Neg", [(2, 3)], {}),
    ("Reciprocal", [(2, 3)], {}),
    ("MatMul", [(2, 1, 3, 4), (5, 4, 6)], {}),
    ("Concat", [(2, 3), (2, 5)], {"axis": -1}),
    ("Slice", [(2, 9), [1], [2**31], [1]], {}),
    ("Slice", [(2, 9), [0, -4], [2, 9]], {}),
    ("Slice", [(2, 9), [0, 8], [2, 1], None, [1, -3]], {}),
    ("Reshape", [(2, 6), [0, -1, 3]], {}),
    ("Transpose", [(2, 3, 4)], {"perm": [2, 0, 1]}),
    ("Unsqueeze", [(2, 3), [0, -1]], {}),
    ("Squeeze", [(1, 2, 1), [0]], {}),
    ("Expand", [(2, 1), [3, 1, 4]], {}),
    ("ReduceMean", [(2, 3, 4), [-1]], {}),
    ("ReduceMean", [(2, 3, 4), [0, 2]], {"keepdims": 0}),
    ("ReduceMean", [(2, 3)], {}),
    ("ReduceMean", [(2, 3)], {"noop_with_empty_axes": 1}),
    ("Softmax", [(2, 3)], {"axis": -1}),
    ("Cast", [(2, 3)], {"to": ir.DataType.INT32.value}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES)
def test_shape_and_type_are_those_onnx_infers(op: str, inputs: list[Any], attributes: dict[str, Any]):
    model = graph_of(op, inputs, **attributes)
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model), strict_mode=True, data_prop=True)
    propagate(model)
    found = model.graph.outputs[0]
    wanted = inferred.graph.output[0].type.tensor_type
    assert list(found.shape) == [size.dim_value for size in wanted.shape.dim]
    assert found.dtype == wanted.elem_type


MISFITS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Add", [(2, 3), (4,)], {}),
    ("MatMul", [(2, 3), (4, 5)], {}),
    ("Concat", [(2, 3), (3, 5)], {"axis": 1}),
    ("Reshape", [(2, 6), [5, -1]], {}),
    ("Reshape", [(2, 6), [2, 6, 0]], {}),
    ("Squeeze", [(1, 2), [1]], {}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), MISFITS)
def test_what_does_not_fit_names_the_node_and_shapes(op: str, inputs: list[Any], attributes: dict[str, Any]):
    with pytest.raises(GraphError) as caught:
        propagate(graph_of(op, inputs, **attributes))
    assert str(caught.value).startswith(f"node n ({op}): the shapes of its inputs do not fit: ['x0 {list(inputs[0])}'")


def test_an_operation_no_decoder_has():
    with pytest.raises(GraphError, match=r"node n \(Einsum\): the operation Einsum is not supported\n  export the"):
        propagate(graph_of("Einsum", [(2, 3)], equation="ij->ji"))
