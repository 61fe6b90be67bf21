"""Roundings that are left out, with ONNX Runtime as the judge of whether they changed anything."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qairt.runtime.needless_rounding import without_needless_rounding

GRID, OTHER = (np.float32(3e-4), np.uint16(31234)), (np.float32(2.9e-4), np.uint16(31234))


def made(
    moves: list[tuple[str, list[str], dict]], *, coarse: tuple[str, ...] = (), shown: tuple[str, ...] = ()
) -> ModelProto:
    """Two inputs on a grid and operations on them, each rounded to the same grid, or to another if it is `coarse`; the
    last is the output, as integers, and those `shown` as real numbers."""
    constants = {"s": GRID[0], "z": GRID[1], "s2": OTHER[0], "z2": OTHER[1], "shape": np.asarray([8, 3])}
    constants |= {"start": np.asarray([1]), "stop": np.asarray([3]), "axis": np.asarray([1])}
    nodes = [helper.make_node("DequantizeLinear", [f"{name}.q", "s", "z"], [name]) for name in ("a", "b")]
    for kind, inputs, settings in moves:
        name, last = f"{kind}{len(nodes)}".lower(), nodes[-1].output[0]
        inputs = [last if each == "-" else each for each in inputs]
        grid = ["s2", "z2"] if kind in coarse else ["s", "z"]
        nodes += [
            helper.make_node(kind, inputs, [f"{name}.exact"], **settings),
            helper.make_node("QuantizeLinear", [f"{name}.exact", *grid], [f"{name}.q"]),
            helper.make_node("DequantizeLinear", [f"{name}.q", *grid], [name]),
        ]
    last = nodes.pop()
    outputs = [helper.make_tensor_value_info(last.input[0], TensorProto.UINT16, None)]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in shown]
    graph = helper.make_graph(
        nodes,
        "moves",
        [helper.make_tensor_value_info(f"{name}.q", TensorProto.UINT16, [4, 6]) for name in ("a", "b")],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def computed(model: ModelProto) -> list[np.ndarray]:
    """On every step of the grid that 16 bits have, in some order."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    steps = np.random.default_rng(0).permutation(65536 // 48 * 48).astype(np.uint16).reshape(-1, 2, 4, 6)
    runs = [session.run(None, {"a.q": a, "b.q": b}) for a, b in steps]
    return [np.stack(each) for each in zip(*runs, strict=True)]


def thinned(model: ModelProto) -> list[str]:
    """Leave out what is needless; returns the kinds of nodes that remain."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = without_needless_rounding(list(graph.node), constants, {output.name for output in graph.output})
    del graph.node[:]
    graph.node.extend(nodes)
    return [node.op_type for node in nodes if not node.op_type.endswith("Linear")] + [
        str(sum(node.op_type.endswith("Linear") for node in nodes))
    ]


CHAIN = [
    ("Slice", ["a", "start", "stop", "axis"], {}),
    ("Concat", ["-", "b"], {"axis": 1}),
    ("Transpose", ["-"], {"perm": [1, 0]}),
    ("Reshape", ["-", "shape"], {}),
]


def test_values_that_only_move_are_rounded_once():
    chain = [*CHAIN[:3], ("Slice", ["-", "start", "stop"], {})]
    model = made(chain)
    before = computed(model)
    assert thinned(model) == ["Slice", "Concat", "Transpose", "Slice", "3"]
    for found, expected in zip(computed(model), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("moves", "settings", "roundings"),
    [
        ([("Add", ["a", "b"], {}), ("Transpose", ["-"], {"perm": [1, 0]})], {}, 5),
        ([("Transpose", ["a"], {"perm": [1, 0]}), ("Add", ["-", "-"], {})], {}, 3),
        (CHAIN[:2], {"coarse": ("Slice",)}, 5),
        (CHAIN[:2], {"coarse": ("Concat",)}, 3),
        (CHAIN[:2], {"shown": ("slice2",)}, 5),
    ],
    ids=["a sum is rounded", "before a sum", "to another grid", "the output to another grid", "an output of the graph"],
)
def test_what_changes_something_stays(moves, settings, roundings):
    model = made(moves, **settings)
    before = computed(model)
    assert thinned(model)[-1] == str(roundings)
    for found, expected in zip(computed(model), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_grid_of_more_bits_is_not_known():
    model = made(CHAIN[:1])
    wide = numpy_helper.from_array(np.asarray(0, np.int32), "z")
    constants = {tensor.name: tensor for tensor in model.graph.initializer} | {"z": wide}
    nodes = list(model.graph.node)
    assert without_needless_rounding(nodes, constants, {"slice2.q"}) == nodes
