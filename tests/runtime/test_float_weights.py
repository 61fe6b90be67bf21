"""Graphs that read their weights as floats: the same outputs, bit for bit, and one copy for all ARs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from qairt.runtime.dequantized import Floats
from qairt.runtime.float_weights import FloatWeightGraph
from qairt.runtime.parts import PartGraph


def drawn(part: PartGraph) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        spec.name: random.integers(0, 200 if spec.name == "input_ids" else np.iinfo(spec.dtype).max, spec.shape).astype(
            spec.dtype
        )
        for spec in part.signature.inputs
    }


def as_written(part: PartGraph) -> list[np.ndarray]:
    """Each operation on its own, as the graph says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(part.onnx, options, providers=["CPUExecutionProvider"])
    return session.run(None, drawn(part))


def with_floats(part: PartGraph) -> tuple[list[np.ndarray], dict[str, Floats]]:
    graph = FloatWeightGraph(part.onnx)
    assert graph.is_complete
    made = graph.weights({})
    weights = {name: made[source] for name, source in graph.sources.items()}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(part.onnx.parent))
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(each) for name, each in weights.items()}
    for name, value in values.items():
        options.add_initializer(name, value)
    session = onnxruntime.InferenceSession(graph.serialized(), options, providers=["CPUExecutionProvider"])
    return session.run(None, drawn(part)), weights


@pytest.mark.parametrize("ar", [1, 8])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_outputs_are_those_of_the_graph_as_written(quantized_parts, ar, index):
    part = quantized_parts[ar][index]
    found, weights = with_floats(part)
    for one, other in zip(found, as_written(part), strict=True):
        np.testing.assert_array_equal(one, other)
    addresses = {each.__array_interface__["data"][0] for each in weights.values()}
    assert len(addresses) == len(weights)
    assert all(address % 64 == 0 for address in addresses)


def test_a_table_of_rows_stays_as_it_is_stored(quantized_parts):
    """Where one scale is for all rows; only those that are picked become floats."""
    folder = quantized_parts[1][0].onnx.parent
    table = np.random.default_rng(0).integers(-128, 128, (40, 6)).astype(np.int8)
    constants = {"table": table, "s": np.float32(0.01), "z": np.int8(0)}
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["table", "s", "z"], ["rows"], name="all"),
            helper.make_node("Gather", ["rows", "ids"], ["first"]),
            helper.make_node("Gather", ["rows", "others"], ["second"]),
            helper.make_node("Add", ["first", "second"], ["sum"]),
        ],
        "lookup",
        [helper.make_tensor_value_info(name, TensorProto.INT32, [1, 3]) for name in ("ids", "others")],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 3, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = folder / "lookup.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    read = FloatWeightGraph(path)
    assert read.is_complete
    assert read.sources == {}
    session = onnxruntime.InferenceSession(read.serialized(), providers=["CPUExecutionProvider"])
    ids, others = np.asarray([[5, 0, 39]], np.int32), np.asarray([[7, 7, 1]], np.int32)
    floats = table.astype(np.float32) * np.float32(0.01)
    np.testing.assert_array_equal(session.run(None, {"ids": ids, "others": others})[0], floats[ids] + floats[others])


def test_weights_that_are_held_are_not_made_again(quantized_parts):
    graph = FloatWeightGraph(quantized_parts[1][1].onnx)
    made = graph.weights({})
    whole = graph.bytes_beside({})
    assert whole == sum(each.nbytes for each in made.values())
    first, *others = made
    assert graph.bytes_beside([first]) == whole - made[first].nbytes
    held = {source: made[source] for source in others}
    again = graph.weights(held)
    assert all(again[source] is made[source] for source in others)
    assert again[first] is not made[first]
    np.testing.assert_array_equal(again[first], made[first])


def saved(path: Path, *nodes: onnx.NodeProto, functions: list[onnx.FunctionProto] | None = None) -> FloatWeightGraph:
    """A graph whose `x` comes from outside and whose `w` is dequantized."""
    dequantize = helper.make_node("DequantizeLinear", ["q", "s"], ["w"])
    constants = {"q": np.ones((2, 2), np.int8), "s": np.float32(0.5), "one": np.float32(1)}
    graph = helper.make_graph(
        [dequantize, *nodes],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, functions=functions or []), path)
    return FloatWeightGraph(path)


def test_other_constants_are_left_to_onnx_runtime(tmp_path):
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert saved(tmp_path / "a.onnx", product).is_complete
    transposed = helper.make_node("Transpose", ["w"], ["v"])
    assert not saved(tmp_path / "b.onnx", transposed, helper.make_node("MatMul", ["x", "v"], ["y"])).is_complete
    constant = helper.make_node("Constant", [], ["c"], value_float=1.0)
    assert not saved(tmp_path / "c.onnx", constant, helper.make_node("Add", ["x", "c"], ["y"])).is_complete


def test_a_float_graph_is_left_to_onnx_runtime(float_parts):
    assert not any(FloatWeightGraph(part.onnx).is_complete for part in float_parts[8])
