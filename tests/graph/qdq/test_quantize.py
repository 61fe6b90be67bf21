"""A float graph on its grids: structure, exact values, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from qairt.errors import GraphError, QuantizationError
from qairt.graph import files
from qairt.graph.qdq.quantize import quantize_graph
from qairt.quant.encodings import BlockScales, Encoding, Encodings

FLOAT = ir.DataType.FLOAT
RNG = np.random.default_rng(0)


def activation(low: float, high: float, bits: int = 16) -> Encoding:
    scale = np.float32((high - low) / (2**bits - 1))
    return Encoding(bits, False, np.asarray([scale]), np.asarray([int(np.rint(low / scale))]))


def symmetric(largest: float, bits: int = 8) -> Encoding:
    scale = np.float32(largest / (2 ** (bits - 1) - 1))
    return Encoding(bits, True, np.asarray([scale]), np.asarray([-(1 << bits - 1)]))


def per_channel(weight: np.ndarray, bits: int = 8) -> Encoding:
    scale = (np.abs(weight).max(axis=0) / (2 ** (bits - 1) - 1)).astype(np.float32)
    return Encoding(bits, True, scale, np.full(len(scale), -(1 << bits - 1)), axis=1)


def lpbq(weight: np.ndarray, block: int) -> Encoding:
    blocks = np.abs(weight.reshape(-1, block, weight.shape[1])).max(axis=1) / 7
    scale = (blocks.max(axis=0) / 16).astype(np.float32)
    integers = np.clip(np.rint(blocks / scale), 1, 16).astype(np.uint8)
    return Encoding(4, True, scale, np.full(len(scale), -8), 1, BlockScales(block, integers))


class Graph:
    """A float graph, grown node by node."""

    def __init__(self) -> None:
        self.inputs: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []

    def input(self, name: str, *shape: int, dtype: ir.DataType = FLOAT) -> ir.Value:
        self.inputs.append(ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape)))
        return self.inputs[-1]

    def constant(self, name: str, values: np.ndarray) -> ir.Value:
        tensor = ir.tensor(values, name=name)
        self.initializers.append(
            ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        )
        return self.initializers[-1]

    def node(self, op: str, inputs: list[ir.Value], out: str, *shape: int, **attributes: object) -> ir.Value:
        value = ir.Value(name=out, type=ir.TensorType(FLOAT), shape=ir.Shape(shape))
        node = ir.node(op, inputs, attributes=attributes, outputs=[value], name=f"{op}:{out}")
        self.nodes.append(node)
        return value

    def model(self, *outputs: ir.Value, opset: int = 23) -> ir.Model:
        graph = ir.Graph(
            self.inputs,
            outputs,
            nodes=self.nodes,
            initializers=self.initializers,
            opset_imports={"": opset},
            name="ar4-cl8_2_of_2",
        )
        return ir.Model(graph, ir_version=11)


def linear(weight: np.ndarray, bias: np.ndarray | None = None) -> ir.Model:
    graph = Graph()
    out = graph.node(
        "MatMul",
        [graph.input("x", 4, weight.shape[0]), graph.constant("w", weight)],
        "y" if bias is None else "y.matmul",
        4,
        weight.shape[1],
    )
    if bias is not None:
        out = graph.node("Add", [out, graph.constant("b", bias)], "y", 4, weight.shape[1])
    return graph.model(out)


def run(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def held_weight(path: Path, name: str) -> np.ndarray:
    """What the graph's own nodes make of a weight: the value that is read in place of it."""
    model = onnx.load(path)
    value = onnx.helper.make_tensor_value_info(f"{name}.dq", onnx.TensorProto.FLOAT, None)
    del model.graph.output[:]
    model.graph.output.append(value)
    needed = {f"{name}.dq", f"{name}.effective_scale"}
    nodes = [node for node in model.graph.node if node.output[0] in needed]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {})[0])


def save(model: ir.Model, encodings: Encodings, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    quantized = quantize_graph(model, encodings, folder / "quantized_weights.bin")
    files.save(quantized, folder / "q.onnx")
    onnx.checker.check_model(str(folder / "q.onnx"))
    return folder / "q.onnx"


WEIGHT = RNG.standard_normal((64, 6)).astype(np.float32)


@pytest.mark.parametrize(
    "encoding",
    [
        per_channel(WEIGHT),
        per_channel(WEIGHT, 4),
        lpbq(WEIGHT, 16),
        lpbq(WEIGHT, 64),
        symmetric(4.0),
        symmetric(4.0, 16),
    ],
    ids=["int8", "int4", "lpbq16", "lpbq64", "tensor8", "tensor16"],
)
def test_weights_lie_exactly_on_the_grid_of_their_encoding(tmp_path, encoding):
    encodings = Encodings({"x": activation(-4, 4), "y": activation(-40, 40)}, {"w": encoding})
    path = save(linear(WEIGHT), encodings, tmp_path)
    np.testing.assert_array_equal(held_weight(path, "w"), encoding.nearest(WEIGHT))


def test_inputs_and_outputs_are_integers_and_the_values_are_those_of_the_grids(tmp_path):
    grids = {"x": activation(-4, 4), "y": activation(-40, 40)}
    encodings = Encodings(grids, {"w": per_channel(WEIGHT)})
    path = save(linear(WEIGHT), encodings, tmp_path)
    x = RNG.standard_normal((4, 64)).astype(np.float32)
    stored = run(path, {"x": grids["x"].quantize(x).astype(np.uint16)})["y"]
    assert stored.dtype == np.uint16
    exact = grids["x"].nearest(x).astype(np.float64) @ per_channel(WEIGHT).nearest(WEIGHT).astype(np.float64)
    assert np.abs(stored.astype(np.int64) - grids["y"].quantize(exact)).max() <= 1


def test_the_tensors_keep_their_names_and_what_nodes_read_and_write_is_named_after_them(tmp_path):
    encodings = Encodings({"x": activation(-4, 4), "y": activation(-40, 40)}, {"w": lpbq(WEIGHT, 16)})
    graph = onnx.load(save(linear(WEIGHT), encodings, tmp_path), load_external_data=False).graph
    assert [(node.op_type, list(node.output)) for node in graph.node] == [
        ("DequantizeLinear", ["x.dq"]),
        ("DequantizeLinear", ["w.effective_scale"]),
        ("DequantizeLinear", ["w.dq"]),
        ("MatMul", ["y.float"]),
        ("QuantizeLinear", ["y"]),
    ]
    external = {item.name: (item.data_type, list(item.dims)) for item in graph.initializer if item.external_data}
    assert external == {
        "w": (onnx.TensorProto.INT4, [64, 6]),
        "w.block_scale": (onnx.TensorProto.UINT8, [4, 6]),
        "w.scale": (onnx.TensorProto.FLOAT, [6]),
        "zero_u8_6": (onnx.TensorProto.UINT8, [6]),
        "zero_i4_4x6": (onnx.TensorProto.INT4, [4, 6]),
    }


def test_4_bit_weights_always_have_a_zero_point_for_the_compiler_misreads_them_without(tmp_path):
    encodings = Encodings({"x": activation(-4, 4), "y": activation(-40, 40)}, {"w": per_channel(WEIGHT, 4)})
    graph = onnx.load(save(linear(WEIGHT), encodings, tmp_path), load_external_data=False).graph
    weight = next(node for node in graph.node if node.output[0] == "w.dq")
    assert list(weight.input) == ["w", "w.scale", "zero_i4_6"]


def test_a_tensor_without_an_encoding_is_an_error_that_names_it(tmp_path):
    with pytest.raises(QuantizationError) as caught:
        quantize_graph(linear(WEIGHT), Encodings({"x": activation(-4, 4)}, {"w": per_channel(WEIGHT)}), tmp_path / "w")
    assert str(caught.value) == (
        "y: this tensor has no encoding\n"
        "  run quantization on this model again, or add the encoding to the file that the recipe names"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_weight_without_an_encoding_is_an_error_that_names_it(tmp_path):
    grids = {"x": activation(-4, 4), "y": activation(-40, 40)}
    with pytest.raises(QuantizationError, match=r"^w: this weight has no encoding\n"):
        quantize_graph(linear(WEIGHT), Encodings(grids), tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_of_another_shape_is_an_error_that_names_the_weight(tmp_path):
    grids = {"x": activation(-4, 4), "y": activation(-40, 40)}
    with pytest.raises(QuantizationError, match=r"^w: an encoding with 5 scales on axis 1 does not fit the shape"):
        quantize_graph(linear(WEIGHT), Encodings(grids, {"w": per_channel(WEIGHT[:, :5])}), tmp_path / "w")


def test_a_weight_that_is_not_finite_is_an_error_that_names_it(tmp_path):
    weight = WEIGHT.copy()
    weight[3, 2] = np.nan
    grids = {"x": activation(-4, 4), "y": activation(-40, 40)}
    with pytest.raises(QuantizationError, match=r"^w: holds NaN or Inf"):
        quantize_graph(linear(weight), Encodings(grids, {"w": per_channel(WEIGHT)}), tmp_path / "w")


def test_a_bias_of_32_bits_is_added_in_16_on_the_grid_of_its_largest_value(tmp_path):
    bias = np.asarray([0.5, -2, 1, 0, 0.25, 1.75], np.float32)
    grids = {name: activation(-40, 40) for name in ("x", "y", "y.matmul")}
    encodings = Encodings(grids, {"w": per_channel(WEIGHT), "b": symmetric(2.0, 32)})
    path = save(linear(WEIGHT, bias), encodings, tmp_path)
    np.testing.assert_array_equal(held_weight(path, "b"), symmetric(2.0, 16).nearest(bias))


def test_keys_that_go_out_in_8_bits_are_converted_before_they_are_moved(tmp_path):
    graph = Graph()
    k = graph.node("Mul", [graph.input("x", 2, 3), graph.inputs[0]], "k", 2, 3)
    key = graph.node("Transpose", [k], "past_key_0_out", 3, 2, perm=[1, 0])
    cache = symmetric(4.0)
    encodings = Encodings({"x": activation(-2, 2), "k": activation(0, 4), "past_key_0_out": cache})
    path = save(graph.model(key), encodings, tmp_path)
    nodes = [(node.op_type, node.output[0]) for node in onnx.load(path).graph.node]
    assert nodes[3:] == [
        ("DequantizeLinear", "k.dq"),
        ("QuantizeLinear", "k.to_8_1"),
        ("DequantizeLinear", "k.to_8_1.dq"),
        ("Transpose", "past_key_0_out.float"),
        ("QuantizeLinear", "past_key_0_out"),
    ]
    x = np.asarray([[-2, 0.5, 1], [1.5, 2, 0]], np.float32)
    stored = run(path, {"x": encodings.activations["x"].quantize(x).astype(np.uint16)})["past_key_0_out"]
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, cache.quantize((x * x).T))


def test_rows_gathered_from_an_8_bit_table_are_converted_afterwards(tmp_path):
    table = RNG.standard_normal((7, 4)).astype(np.float32)
    graph = Graph()
    ids = graph.input("input_ids", 1, 3, dtype=ir.DataType.INT32)
    rows = graph.node("Gather", [graph.constant("table", table), ids], "hidden_0", 1, 3, 4)
    encodings = Encodings({"hidden_0": activation(-4, 4)}, {"table": symmetric(4.0)})
    path = save(graph.model(rows), encodings, tmp_path)
    ids_in = np.asarray([[6, 0, 2]], np.int32)
    stored = run(path, {"input_ids": ids_in})["hidden_0"]
    wanted = activation(-4, 4).quantize(symmetric(4.0).nearest(table)[ids_in])
    np.testing.assert_array_equal(stored, wanted)


def test_a_table_with_a_scale_per_channel_cannot_be_gathered_from(tmp_path):
    graph = Graph()
    ids = graph.input("input_ids", 1, 3, dtype=ir.DataType.INT32)
    rows = graph.node("Gather", [graph.constant("table", WEIGHT), ids], "hidden_0", 1, 3, 6)
    encodings = Encodings({"hidden_0": activation(-4, 4)}, {"table": per_channel(WEIGHT)})
    with pytest.raises(QuantizationError, match=r"^table: Gather reads it, so its encoding must be per tensor"):
        quantize_graph(graph.model(rows), encodings, tmp_path / "w")


def test_keys_must_come_in_on_the_grid_they_went_out_on(tmp_path):
    encodings = Encodings({"past_key_3_in": symmetric(1.0), "past_key_3_out": symmetric(2.0)})
    with pytest.raises(
        QuantizationError, match=r"^past_key_3_in: its encoding differs from that of the matching output"
    ):
        quantize_graph(linear(WEIGHT), encodings, tmp_path / "w")


def test_an_old_opset_is_refused(tmp_path):
    graph = Graph()
    out = graph.node("Mul", [graph.input("x", 2), graph.inputs[0]], "y", 2)
    with pytest.raises(GraphError, match=r"^ar4-cl8_2_of_2: opset 17 has no 4- and 16-bit integers\n"):
        quantize_graph(graph.model(out, opset=17), Encodings(), tmp_path / "w")


def test_the_same_input_gives_the_same_bytes(tmp_path):
    encodings = Encodings({"x": activation(-4, 4), "y": activation(-40, 40)}, {"w": lpbq(WEIGHT, 16)})
    one, other = save(linear(WEIGHT), encodings, tmp_path / "a"), save(linear(WEIGHT), encodings, tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
    weights = "quantized_weights.bin"
    assert (tmp_path / "a" / weights).read_bytes() == (tmp_path / "b" / weights).read_bytes()
